# What an init script uses of OpenWrt's file of that name, and of /lib/config/uci.sh.
# shellcheck shell=dash

# What `uci export` prints is commands: these.
package() {
	:
}

config() {
	CONFIG_COUNT=$((CONFIG_COUNT + 1))
	CONFIG_SECTION="${2:-cfg$CONFIG_COUNT}"
	CONFIG_SECTIONS="$CONFIG_SECTIONS $CONFIG_SECTION"
	eval "CONFIG_${CONFIG_SECTION}_TYPE=\"\$1\""
}

option() {
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\$2\""
}

list() {
	# shellcheck disable=SC2034 # in an eval
	local length joined

	config_get length "$CONFIG_SECTION" "${1}_LENGTH" 0
	config_get joined "$CONFIG_SECTION" "$1"
	length=$((length + 1))
	eval "CONFIG_${CONFIG_SECTION}_${1}_LENGTH=$length CONFIG_${CONFIG_SECTION}_${1}_ITEM$length=\"\$2\""
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\${joined:+\$joined }\$2\""
}

# Not strict: what comes after a value is left out.
config_load() {
	CONFIG_SECTIONS='' CONFIG_COUNT=0
	eval "$(uci -S export "$1" 2>/dev/null)"
}

# Variable, section, option, default.
config_get() {
	eval "$1=\"\${CONFIG_${2}_${3}:-\$4}\""
}

config_foreach() {
	local function="$1" type="$2" section kind
	shift 2

	for section in $CONFIG_SECTIONS; do
		config_get kind "$section" TYPE
		[ "$kind" != "$type" ] || "$function" "$section" "$@"
	done
}

config_list_foreach() {
	local section="$1" name="$2" function="$3" length index=1 value
	shift 3

	config_get length "$section" "${name}_LENGTH" 0
	while [ "$index" -le "$length" ]; do
		config_get value "$section" "${name}_ITEM$index"
		"$function" "$value" "$@"
		index=$((index + 1))
	done
}

user_exists() {
	grep -qs "^$1:" /etc/passwd
}
