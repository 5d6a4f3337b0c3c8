"""What replies mean."""
