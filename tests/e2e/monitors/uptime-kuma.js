// Sets Uptime Kuma up and adds monitors, as its pages do; then prints each heartbeat as a line of JSON.
//
//   node uptime-kuma.js URL <MONITORS        an array of {name, type, url, ...}, in JSON
//
// socket.io-client is that of the Uptime Kuma in the working directory.
const { createRequire } = require("module");
const { io } = createRequire(process.cwd() + "/")("socket.io-client");
const fs = require("fs");

const PASSWORD = "a1b2c3d4e5F6!";
const USUAL = {
    method: "GET", interval: 20, retryInterval: 20, resendInterval: 0, maxretries: 0, timeout: 10, ignoreTls: false,
    upsideDown: false, packetSize: 56, expiryNotification: false, maxredirects: 10, accepted_statuscodes: ["200-299"],
    dns_resolve_type: "A", dns_resolve_server: "127.0.0.1", docker_container: "", docker_host: null, proxyId: null,
    notificationIDList: {}, kafkaProducerBrokers: [], kafkaProducerSaslOptions: { mechanism: "None" },
};
const socket = io(process.argv[2], { reconnection: true });
const names = {};

function ask(event, ...values) {
    return new Promise((resolve, reject) => socket.emit(event, ...values, (answer) =>
        answer.ok ? resolve(answer) : reject(new Error(event + ": " + answer.msg))));
}

socket.on("heartbeat", (beat) => console.log(JSON.stringify({ id: beat.monitorID, up: beat.status === 1, msg: beat.msg })));
socket.once("connect", async () => {
    await ask("setup", "admin", PASSWORD);
    await ask("login", { username: "admin", password: PASSWORD, token: "" });
    for (const monitor of JSON.parse(fs.readFileSync(0, "utf-8"))) {
        const { monitorID } = await ask("add", { ...USUAL, ...monitor });
        console.log(JSON.stringify({ id: monitorID, name: monitor.name }));
    }
});
process.on("unhandledRejection", (error) => { console.error(error); process.exit(1); });
