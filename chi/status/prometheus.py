"""Writes a Status and chi's own metrics in Prometheus' text exposition format 0.0.4.

What there is to tell is in two tables, MINER_FAMILIES and OWN_FAMILIES; a value that is None has no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from chi.status.model import STATES, RigError, Status
from chi.status.values import exact

# --- Families -------------------------------------------------------------------------------------
#
# Everything that /metrics exposes, in its order. The name's ending says the type: _total is a counter.


class Family(NamedTuple):
    """A metric family of the miner: its samples are an attribute of the records of one kind.

    `values` are pairs of attribute and further labels; with `info`, the value is 1 and the attributes in
    `info` are labels. `each` makes pairs of further labels and value of an attribute that is no number.
    """

    name: str
    kind: str
    values: tuple[tuple[str, str], ...]
    help: str
    info: tuple[str, ...] = ()
    each: Callable[[Any], list[tuple[str, float]]] | None = None


def gauge(kind: str, name: str, attribute: str, help: str) -> Family:
    """Return a family with one sample for each record of a kind."""
    return Family(f"cgminer_{name}", kind, ((attribute, ""),), help)


def sensors(name: str, help: str, *names: str) -> Family:
    """Return a family of chains with one sample for each sensor."""
    values = tuple((f"{sensor}_temperature", f'sensor="{sensor}"') for sensor in names)
    return Family(f"cgminer_{name}", "chain", values, help)


def windows(name: str, help: str, *times: str) -> Family:
    """Return a family of the rig with one sample for each time that an average is over."""
    values = tuple((f"hashrate_{time}", f'window="{time}"') for time in times)
    return Family(f"cgminer_{name}", "rig", values, help)


MAX_ERRORS = 20  # of a miner's, and MAX_PROBLEMS of the verdict's: what a person would read
MAX_PROBLEMS = 50
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def label(name: str, value: str | None) -> str:
    """Return name="value", escaped; an empty value is to Prometheus as if the label were not there."""
    return f'{name}="{(value or "").translate(ESCAPES)}"'


def every_state(state: str) -> list[tuple[str, float]]:
    """Return a sample for each state there is, 1 for the one that is told."""
    return [(label("state", each), float(each == state)) for each in STATES]


def one_state(state: str) -> list[tuple[str, float]]:
    """Return a sample for the state alone: a board each would be many."""
    return [(label("state", state), 1.0)]


def errors(found: Sequence[RigError]) -> list[tuple[str, float]]:
    """Return a sample for each error, at most MAX_ERRORS."""
    labels = dict.fromkeys(f"{label('code', error.code)},{label('text', error.text)}" for error in found)
    return [(each, 1.0) for each in list(labels)[:MAX_ERRORS]]


def reasons(found: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return a sample for each reason."""
    return [(label("reason", reason), count) for reason, count in found.items()]


MINER_FAMILIES = (
    Family("cgminer_info", "rig", (), "Software (version), hardware (Type, PROD or Model), firmware.",
           ("software", "version", "api", "model", "firmware", "algorithm", "host_name")),
    Family("cgminer_state", "rig", (("state", ""),), "Whether the miner says that it does this.",
           each=every_state),
    Family("cgminer_error", "rig", (("errors", ""),), "What the firmware calls an error.", each=errors),
    gauge("rig", "start_time_seconds", "start_time", "When the miner started (STATUS.When less Elapsed)."),
    gauge("rig", "hashes_total", "hashes", "Hashes since the start (Total MH)."),
    gauge("rig", "hashrate_hashes_per_second", "hashrate",
          "Hashrate over 5 s, or what the miner has nearest (MHS 5s, GHS 5s)."),
    gauge("rig", "hashrate_average_hashes_per_second", "hashrate_average",
          "Hashrate since the start (MHS av, GHS av)."),
    windows("hashrate_window_hashes_per_second", "Hashrate over a longer time (MHS 1m, MHS 24h).",
            "1m", "5m", "15m", "24h"),
    gauge("rig", "hashrate_expected_hashes_per_second", "hashrate_expected",
          "What it should make as it is set up (total_rateideal, GHSmm, Factory GHS, Nominal MHS, "
          "MHS(Rated), Ths)."),
    gauge("rig", "shares_accepted_total", "shares_accepted", "Shares that pools accepted (Accepted)."),
    gauge("rig", "shares_rejected_total", "shares_rejected", "Shares that pools rejected (Rejected)."),
    gauge("rig", "shares_stale_total", "shares_stale", "Shares dropped as too late (Stale)."),
    gauge("rig", "share_difficulty_accepted_total", "difficulty_accepted",
          "Difficulty of the accepted shares, summed up (Difficulty Accepted)."),
    gauge("rig", "share_difficulty_rejected_total", "difficulty_rejected",
          "Difficulty of the rejected shares, summed up (Difficulty Rejected)."),
    gauge("rig", "hardware_errors_total", "hardware_errors", "Wrong results of chips (Hardware Errors)."),
    gauge("rig", "blocks_found_total", "blocks_found", "Blocks found (Found Blocks)."),
    gauge("rig", "best_share_difficulty", "best_share", "Highest difficulty of a share (Best Share)."),
    gauge("rig", "last_work_timestamp_seconds", "last_work", "When the miner last got work (Last getwork)."),
    gauge("rig", "power_watts", "power", "Power drawn (Power_RT, Power, Watts, "
          "ApproximateMinerPowerConsumption, WALLPOWER, PS, PSU Input Power, chain_power)."),
    gauge("rig", "power_limit_watts", "power_limit",
          "The most power that it is set to draw (Power Limit, PowerLimit, MPO)."),
    gauge("rig", "efficiency_joules_per_hash", "efficiency", "Energy for a hash (power over hashrate)."),
    gauge("rig", "temperature_celsius", "temperature", "Hottest sensor but those of the water."),
    gauge("rig", "environment_temperature_celsius", "environment_temperature",
          "Air that comes in (Env Temp, Temp or ITemp, PSU Temp AMB)."),
    gauge("rig", "last_share_timestamp_seconds", "last_share",
          "When it last found a share (Last Share Time)."),
    gauge("rig", "share_interval_seconds", "share_interval",
          "Seconds that a share takes on average, by the pool's difficulty and the hashrate."),
    Family("cgminer_pool_info", "pool", (), "Configured pools (URL).", ("url",)),
    gauge("pool", "pool_alive", "alive", "Whether the pool answers (Status is Alive)."),
    gauge("pool", "pool_active", "active", "Whether the miner is connected to it (Stratum Active)."),
    gauge("pool", "pool_vendor", "vendor", "Whether the firmware's maker earns there (DevFee)."),
    gauge("pool", "pool_priority", "priority", "Place in the order of use, 0 first (Priority)."),
    gauge("pool", "pool_last_share_timestamp_seconds", "last_share",
          "When it last got a share (Last Share Time)."),
    gauge("pool", "pool_share_difficulty", "share_difficulty", "Difficulty it asks of a share "
          "(Stratum Difficulty, Work Difficulty or Last Share Difficulty)."),
    gauge("pool", "pool_shares_accepted_total", "shares_accepted", "Shares that it accepted (Accepted)."),
    gauge("pool", "pool_shares_rejected_total", "shares_rejected", "Shares that it rejected (Rejected)."),
    gauge("pool", "pool_shares_stale_total", "shares_stale", "Shares dropped as too late (Stale)."),
    Family("cgminer_pool_rejected_reason_total", "pool", (("rejected_reasons", ""),),
           "Shares that it rejected, by its reason.", each=reasons),
    gauge("pool", "pool_response_time_seconds", "response_time", "How long it takes to answer (PING)."),
    Family("cgminer_device_info", "device", (), "Devices as the software has them (Name).", ("name",)),
    gauge("device", "device_alive", "alive", "Whether it works (Status is Alive)."),
    gauge("device", "device_enabled", "enabled", "Whether it is switched on (Enabled)."),
    gauge("device", "device_hashes_total", "hashes", "Hashes since the start (Total MH)."),
    gauge("device", "device_hashrate_hashes_per_second", "hashrate",
          "Hashrate over 5 s, or what the miner has nearest (MHS 5s)."),
    gauge("device", "device_temperature_celsius", "temperature", "Temperature (Temperature)."),
    gauge("device", "device_hardware_errors_total", "hardware_errors", "Wrong results (Hardware Errors)."),
    Family("cgminer_chain_state", "chain", (("state", ""),), "What a hash board does (chain_state, Online).",
           each=one_state),
    gauge("chain", "chain_hashrate_expected_hashes_per_second", "hashrate_expected",
          "What the board should make (chain_rateideal, Nominal MHS, Factory GHS)."),
    gauge("chain", "chain_hashrate_hashes_per_second", "hashrate",
          "Hashrate of a hash board (chain_rate, MHS 5s, MGHS)."),
    sensors("chain_temperature_celsius", "Hottest sensor of a board (temp_pcb, temp, Board, Temperature; "
            "temp_chip, temp2_, Chip, Chip Temp Max, MTmax; TopLeft).", "board", "chip", "water"),
    gauge("chain", "chain_frequency_hertz", "frequency",
          "Clock of its chips (freq_avg, freq, frequency, Chip Frequency, Frequency)."),
    gauge("chain", "chain_voltage_volts", "voltage", "What the board gets (chain_vol, Voltage, Vout)."),
    gauge("chain", "chain_chips_expected", "chips_expected", "Chips that should be on it (Num chips)."),
    gauge("chain", "chain_chips", "chips", "Chips found on it (chain_acn, Effective Chips, Chips)."),
    gauge("chain", "chain_hardware_errors_total", "hardware_errors",
          "Wrong results of its chips (chain_hw, Hardware Errors)."),
    gauge("fan", "fan_speed_rpm", "speed", "Speed of a fan (fan1, Fan1, RPM, Fan Speed In, Fan Speed)."),
    gauge("fan", "fan_duty_ratio", "duty", "How much of its speed is asked for (Speed, fan_pwm, FanR)."),
)  # fmt: skip


class Own(NamedTuple):
    """What chi tells of itself and of the scrape; counts are since its start.

    `http_requests` by status code, `miner_errors`, `denied_requests` by reason, `json_repairs` by repair;
    times in seconds; `commands` says which command of the scrape succeeded. None where it is not known.
    """

    version: str
    http_requests: Mapping[str, float] = MappingProxyType({})
    miner_requests: float = 0
    miner_errors: Mapping[str, float] = MappingProxyType({})
    denied_requests: Mapping[str, float] = MappingProxyType({})
    json_repairs: Mapping[str, float] = MappingProxyType({})
    coalesced_requests: float = 0
    cpu_seconds: float | None = None
    resident_bytes: float | None = None
    open_descriptors: float | None = None
    max_descriptors: float | None = None
    start_time: float | None = None
    scrape_duration: float | None = None
    commands: Mapping[str, bool] = MappingProxyType({})


# Name, attribute of Own, label of its keys, help
OWN_FAMILIES = (
    ("cgminer_scrape_duration_seconds", "scrape_duration", "", "Time from the scrape's arrival to its end."),
    ("cgminer_command_success", "commands", "command", "Whether the miner answered a command of the scrape."),
    ("chi_build_info", "version", "version", "Version of chi."),
    ("chi_http_requests_total", "http_requests", "code", "HTTP requests that chi answered."),
    ("chi_miner_requests_total", "miner_requests", "", "Requests that chi sent to the miner."),
    ("chi_miner_errors_total", "miner_errors", "reason", "Requests to the miner that failed."),
    ("chi_denied_requests_total", "denied_requests", "reason", "HTTP requests that chi denied."),
    ("chi_json_repairs_total", "json_repairs", "repair", "Repairs of replies that were not valid JSON."),
    ("chi_coalesced_requests_total", "coalesced_requests", "", "Requests that shared another's reply."),
    ("process_cpu_seconds_total", "cpu_seconds", "", "Processor time used, user and system."),
    ("process_resident_memory_bytes", "resident_bytes", "", "Memory in use."),
    ("process_open_fds", "open_descriptors", "", "File descriptors in use."),
    ("process_max_fds", "max_descriptors", "", "File descriptors allowed."),
    ("process_start_time_seconds", "start_time", "", "When chi started."),
)

OF_THE_SCRAPE = "cgminer_"  # how the names begin of what is about one miner

# --- Outputs --------------------------------------------------------------------------------------

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Problem(Protocol):
    """The attributes of a problem that are exported."""

    @property
    def code(self) -> str: ...

    @property
    def about(self) -> str: ...


class Verdict(Protocol):
    """The attributes of a verdict that are exported, see chi.status.verdict."""

    @property
    def earning(self) -> bool | None: ...

    @property
    def problems(self) -> Sequence[Problem]: ...


def prometheus(
    status: Status | None,
    own: Own,
    pool_user: bool = False,
    verdict: Verdict | None = None,
    whole: bool = True,
) -> bytes:
    """Return the text format 0.0.4, of CONTENT_TYPE, in UTF-8.

    Without a status, the miner is down: cgminer_up is 0, and there is no series of the miner's. The users of
    pools are only in it with `pool_user`; what is chi's own, not the miner's, only if `whole`.
    """
    up = "Whether the miner answered this scrape."
    told = [render("cgminer_up", up, [("", float(status is not None))])]
    told += [render(name, help, found) for name, help, found in judged(verdict)]
    told += [
        render(name, help, own_samples(getattr(own, attribute), of_key))
        for name, attribute, of_key, help in OWN_FAMILIES
        if whole or name.startswith(OF_THE_SCRAPE)
    ]
    if status is not None:
        records = records_of(status)
        told += [
            render(family.name, family.help, samples(family, records[family.kind], pool_user))
            for family in MINER_FAMILIES
        ]
    return "".join(told).encode("utf-8", "replace")


def own_families(own: Own) -> bytes:
    """Return what is chi's own alone, in the same format."""
    told = [
        render(name, help, own_samples(getattr(own, attribute), of_key))
        for name, attribute, of_key, help in OWN_FAMILIES
        if not name.startswith(OF_THE_SCRAPE)
    ]
    return "".join(told).encode("utf-8", "replace")


VERDICT_FAMILIES = ("cgminer_earning", "cgminer_problem")


def judged(verdict: Verdict | None) -> Iterator[tuple[str, str, list[tuple[str, float]]]]:
    """Return name, help and samples of the families of a verdict."""
    earning = verdict.earning if verdict else None
    yield VERDICT_FAMILIES[0], "Whether the miner earns.", [] if earning is None else [("", float(earning))]
    problems = verdict.problems if verdict else ()
    labels = dict.fromkeys(f"{label('code', each.code)},{label('about', each.about)}" for each in problems)
    found = [(each, 1.0) for each in list(labels)[:MAX_PROBLEMS]]
    yield VERDICT_FAMILIES[1], "What is wrong with it.", found


def render(name: str, help: str, found: Sequence[tuple[str, float]]) -> str:
    """Return the lines of a family; none where it has no sample. Samples are pairs of labels and value."""
    if not found:
        return ""
    kind = "counter" if name.endswith("_total") else "gauge"
    lines = [
        f"{name}{{{labels}}} {decimal(value)}\n" if labels else f"{name} {decimal(value)}\n"
        for labels, value in found
    ]
    return f"# HELP {name} {help}\n# TYPE {name} {kind}\n{''.join(lines)}"


def decimal(value: float) -> str:
    """Return a number as text, whole ones without a fraction; of a flag 1 or 0."""
    return repr(exact(float(value)))


def own_samples(value: Any, name: str) -> list[tuple[str, float]]:
    """Return the samples of an attribute of Own."""
    if isinstance(value, str):
        return [(label(name, value), 1.0)]
    if isinstance(value, Mapping):
        return [(label(name, str(key)), float(count)) for key, count in sorted(value.items())]
    return [] if value is None else [("", float(value))]


def records_of(status: Status) -> dict[str, list[tuple[str, Any]]]:
    """Return the records of each kind, with the label that tells them apart."""
    records: dict[str, list[tuple[str, Any]]] = {"rig": [("", status.rig)]}
    for kind, found in (("pool", status.pools), ("device", status.devices), ("chain", status.chains),
                        ("fan", status.fans)):  # fmt: skip
        records[kind] = [(label(kind, getattr(record, kind)), record) for record in found]
    return records


def samples(family: Family, records: Sequence[tuple[str, Any]], pool_user: bool) -> list[tuple[str, float]]:
    """Return labels and value of each sample of a family of the miner."""
    if family.info:
        names = (*family.info, "user") if pool_user and family.kind == "pool" else family.info
        return [
            (together(own, ",".join(label(name, getattr(record, name)) for name in names)), 1.0)
            for own, record in records
        ]
    told = [
        (together(own, further), value)
        for own, record in records
        for attribute, further in family.values
        if (value := getattr(record, attribute)) is not None
    ]
    if family.each:
        told = [(together(own, more), each) for own, value in told for more, each in family.each(value)]
    return told


def together(labels: str, further: str) -> str:
    """Return labels and further ones, of which either may be none."""
    return f"{labels},{further}" if labels and further else labels or further
