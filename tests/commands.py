"""The commands of every firmware: which of them report, and which are privileged (or unprotected writes).

Written from the command tables of the firmwares themselves, and not from chi: the tests compare the two.
A family that one firmware spells out by pattern (`pga…`, `set_*`) is spelled out here in full.
"""

from __future__ import annotations

import itertools

CPU_GPU_PGA_PROC = " ".join(
    "".join(pair)
    for pair in itertools.product(
        ("pga", "proc", "cpu", "gpu"),
        ["enable", "disable", "restart", "identify", "set", "intensity", "mem", "engine", "fan", "vddc"],
    )
)

# Firmware: reports, everything else.
COMMANDS: dict[str, tuple[str, str]] = {
    "all four C miners": (
        "version config devs pools summary notify devdetails stats check coin",
        "switchpool addpool poolpriority poolquota enablepool disablepool removepool save quit restart "
        "privileged failover-only debug setconfig zero",
    ),
    "cgminer, Bitmain": (
        "edevs estats usbstats lcd pgacount asccount asc pga dbgstats noncenum",
        "hotplug lockstats ascenable ascdisable ascidentify ascset pgaenable pgadisable pgaidentify pgaset",
    ),
    "sgminer": (
        "gpu gpucount profiles",
        "changestrategy changepoolprofile addprofile removeprofile lockstats gpuenable gpudisable gpurestart "
        "gpuintensity gpuxintensity gpurawintensity gpumem gpuengine gpufan gpuvddc",
    ),
    "BFGMiner": (
        "procs proc proccount procnotify procdetails pga pgacount cpu cpucount gpu gpucount",
        f"devscan {CPU_GPU_PGA_PROC}",
    ),
    "Bitmain new_api": ("rate warning", "reload"),
    "Avalon": ("litestats", "ascset privilege"),
    "Whatsminer": (
        "status get_psu get_version get_miner_info get_error_code",
        "get_token update_pools restart_btminer power_on power_off reboot factory_reset update_pwd "
        "net_config upgrade_firmware open_write_api pre_power_on download_logs load_log "
        "set_led set_low_power set_normal_power set_high_power set_power_pct set_power_pct_v2 "
        "set_target_freq set_hostname set_zone set_temp_offset set_poweroff_cool set_fan_zero_speed "
        "adjust_power_limit adjust_upfreq_speed "
        "enable_btminer_fast_boot enable_btminer_init enable_web_pools "
        "disable_btminer_fast_boot disable_btminer_init disable_web_pools",
    ),
    "BOSminer, Braiins OS": (
        "fans temps tempctrl tunerstatus asccount asc",
        "pause resume switchpool addpool enablepool disablepool removepool",
    ),
    "LuxOS": (
        "atm events fans temps tempctrl power profiles limits groups frequencyget voltageget "
        "healthchipget healthctrl",
        "session logon logoff kill ascset atmset fanset frequencyset healthctrlset immersionswitch limitset "
        "netset powertargetset profileset tempctrlset tempsensorset timeset updateset voltageset "
        "addgroup groupquota removegroup enableboard disableboard reboot rebootdevice resetminer "
        "curtail updaterun",
    ),
    # It takes changes with a token beside the command only.
    "Auradine": ("fan temperature psu voltage frequency mode led ipreport asccount", "reboot"),
    "TeamRedMiner": ("summary2 devs2 pools2", "gpuenable gpudisable"),
    "Sealminer": ("summary stats pools version", "updatepools ascset restart"),
    # They speak text only.
    "cpuminer, ccminer": ("summary threads pool histo hwinfo meminfo scanlog help", "seturl switchpool quit"),
}

REPORTS = frozenset(name for reports, _ in COMMANDS.values() for name in reports.split())
PRIVILEGED = tuple(sorted({name for _, others in COMMANDS.values() for name in others.split()}))
