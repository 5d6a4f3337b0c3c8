# What an init script uses of OpenWrt's file of that name, and of /lib/config/uci.sh.
# shellcheck shell=dash

config_load() {
	eval "$(/sbin/validate_data "$1")"
}

# Variable, section, option, default.
config_get() {
	eval "$1=\"\${CONFIG_${2}_${3}:-\$4}\""
}

user_exists() {
	grep -qs "^$1:" /etc/passwd
}
