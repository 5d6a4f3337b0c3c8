"""The table of reports: commands that change nothing and reveal no secret. Any other is privileged.

From the command tables of cgminer 4.11, sgminer 5.1, BFGMiner 5.5 and Bitmain's forks, and from client
libraries for the others.
"""

REPORTS_BY_FIRMWARE = {
    "all C miners": "version config devs pools summary notify devdetails stats check coin",
    "cgminer, Bitmain": "edevs estats usbstats lcd pgacount asccount asc pga dbgstats noncenum",
    "sgminer": "gpu gpucount profiles",
    "BFGMiner": "procs proc proccount procnotify procdetails pga pgacount cpu cpucount gpu gpucount",
    "Bitmain new_api": "rate warning",
    "Avalon": "litestats",
    "Whatsminer": "status get_psu get_version get_miner_info get_error_code",
    "BOSminer, Braiins OS": "fans temps tempctrl tunerstatus asccount asc",
    "LuxOS": "atm events fans temps tempctrl power profiles limits groups frequencyget voltageget "
    "healthchipget healthctrl",
    "Sealminer": "summary stats pools version",
    "Auradine": "fan temperature psu voltage frequency mode led ipreport asccount",
    "TeamRedMiner": "summary2 devs2 pools2",
    "cpuminer, ccminer": "summary threads pool histo hwinfo meminfo scanlog help",
}
REPORTS = frozenset(name for names in REPORTS_BY_FIRMWARE.values() for name in names.split())
