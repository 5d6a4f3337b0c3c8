"""Limits of everything that a client or a miner can make grow, each with its reason.

Only numbers. The files that enforce a limit import it from here.
"""

# A request to the miner, and its reply
MAX_REQUEST = 8191  # what BFGMiner, sgminer and Bitmain read at the most (cgminer: 4095)
MAX_REPLY = 512 << 10  # the largest seen has 190 KB; valid JSON of this size takes 60 ms to check on a PC
MAX_PRETTY = 4 * MAX_REPLY  # a reply with ?pretty: indenting makes a deep one 128 times as large
MAX_MARKS = 150_000  # brackets, quotes and commas of a reply to be repaired or indented: 60 ms on a PC
MAX_TEXT_REPLY = 64 << 10  # four times the buffer of ccminer; translated at once, about 0.1 s of work on a PC
MAX_DEPTH = 64  # real replies nest 6 deep; on musl 1,035 levels overflow a thread's 128 KiB stack
MAX_LOOKED = 4 * MAX_REPLY  # total bytes examined to see whether a reply without NUL is complete
LARGE = 64 << 10  # what is read from a socket at once

# What waits for the miner, and what is remembered of it
MAX_WAITING = 512  # different requests that wait for the miner
PROBES = 16  # connections to a silent miner beyond Settings.threads
MAX_JUDGED, MAX_JUDGED_SIZE = 128, 2048  # requests of clients that are remembered, and their bytes
MAX_PARSED_SIZE = 8192  # bytes of memory of a request whose parts are remembered; a browser's takes 6 KB
MAX_CHANGED = 4096  # addresses of miners of which it is known when a command last went there
# Replies that --max-age keeps, and their bytes: a router has little more
MAX_HELD, MAX_HELD_SIZE = 64, 4 << 20

# A fleet
MAX_MINERS = 1000  # each costs up to 100 KB, and one process has one core: beyond, run a second chi
MAX_SCANNED, SCANNED_AT_ONCE = 4096, 64  # addresses of --scan: a LAN's, without a flood of its ARP tables
MAX_MINERS_FILE = 1 << 20  # bytes, ten times what so many lines need
MAX_THREADS = 256  # that look names up, one a name: 8 MB of addresses each, and a few KB of memory
MAX_MINER_CONNECTIONS = 128  # to all miners together, out of the same descriptors as the clients'

NAME_AGE = 60.0  # seconds; then a miner's name is looked up again: its address may be another miner's by now
SCRAPE_TIME = 10.0  # seconds that all requests of one scrape may take: 5 commands of 0.8 s, twice over
STATUS_AGE = (
    90.0  # seconds; a slow miner's last status is given up to this age: a scrape a minute, and its time
)

# A client's request and its connection
MAX_BODY = 64 << 10  # eight times MAX_REQUEST, for a body that escapes every character
MAX_HEADER = 32 << 10  # a parameter of MAX_REQUEST bytes, every one percent-encoded
MAX_FIELDS = 200  # header fields; browsers and proxies send about 20
MAX_REASON = 200  # characters of a message in a status line: what checkers show in a line of theirs
MAX_METHOD = 32  # characters of a method; the longest that is registered has 17
MAX_FRAMING = 4096  # bytes around the data of chunks: sizes, extensions, trailer; a body has a few hundred
HEADER_TIME = 30  # seconds: a request must have come whole after this long; dripping ones are closed
SEND_TIME = 30  # seconds: a client that reads nothing of its response for this long is disconnected
LINGER = 2.0  # seconds that a refused client may continue to send; checked with the idle connections
MAX_DESCRIPTORS = 1024  # room for every viewer of a LAN; what looks at each costs 2 ms a turn then
MIN_DESCRIPTORS = 48  # with fewer, chi's own and those of the miner leave clients next to none
SPARE_DESCRIPTORS = 64  # beyond the clients' connections: the miner's, the log, what Python opens
EVICT_AHEAD = 8  # chi begins to close idle connections this many below the limit
SHARE = 64  # connections of one address; one that has more gives them up first when room is short

# What all clients together may hold: a router has 40 MB for chi, and an attack must leave it some
MAX_RECEIVED = 8 << 20  # bytes received and not yet answered: 8 KB for each connection
MAX_TO_SEND = 16 << 20  # bytes to be sent: 32 of the largest replies, each counted once

MIN_TOKEN, MAX_TOKEN = 16, 4096  # characters
LOG_PAUSE = 10.0  # seconds between two lines about the same, where clients can cause them at any rate
