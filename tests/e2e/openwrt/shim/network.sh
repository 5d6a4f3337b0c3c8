# What an init script uses of OpenWrt's /lib/functions/network.sh. The addresses of a network are in /addresses.
# shellcheck shell=dash

network_get_ipaddrs_all() {
	local __found
	__found="$(cat "/addresses/$2" 2>/dev/null)"
	unset "$1"
	[ -n "$__found" ] && export "$1=$__found"
}
