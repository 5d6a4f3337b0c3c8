#!/bin/sh
# Run by the feed's CI after the installation.

case "$PKG_NAME" in
chi) ;;
*) exit 0 ;;
esac

chi-server --version | grep -F "$PKG_VERSION" || exit 1

# From the installed files alone: HTTP, and what is said of a miner that is not there.
chi-server --listen=127.0.0.1 --http_port=18080 --api_port=18081 &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	sleep 1
	reply="$(wget -q -O - http://127.0.0.1:18080/metrics)" && break
done
kill "$server"
wait "$server" || exit 1
echo "$reply" | grep -x 'cgminer_up 0'
