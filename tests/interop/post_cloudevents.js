// Posts CloudEvents built by the npm package `cloudevents`: structured and binary, by its own transport, and a batch of
// its own JSON. Prints one event id per accepted event, in order. Any other answer ends it with exit code 1.
"use strict";
const { CloudEvent, HTTP } = require("cloudevents");

const base = process.env.INGEST;
const authorization = `Bearer ${process.env.TOKEN}`;

function event(name) {
    return new CloudEvent({
        id: name,
        source: "/tests/interop/node",
        type: "AML_MONITORING",
        datacontenttype: "application/json",
        data: { scanRef: name, note: "from the CloudEvents SDK of npm" },
    });
}

async function post(path, headers, body) {
    const answer = await fetch(base + path, {
        method: "POST",
        headers: { ...headers, authorization },
        body,
        signal: AbortSignal.timeout(10_000),
    });
    const text = await answer.text();
    if (answer.status !== 202) {
        throw new Error(`${path}: ${answer.status} ${text}`);
    }
    return text;
}

function accepted(answer) {
    if (!String(answer.id).startsWith("evt_")) {
        throw new Error(`no event id in ${JSON.stringify(answer)}`);
    }
    console.log(answer.id);
    return answer.id;
}

async function main() {
    const structured = HTTP.structured(event("ce-node-structured"));
    const first = accepted(JSON.parse(await post("/v1/events", structured.headers, structured.body)));
    const binary = HTTP.binary(event("ce-node-binary"));
    accepted(JSON.parse(await post("/v1/events", binary.headers, binary.body)));

    const again = JSON.parse(await post("/v1/events", structured.headers, structured.body));
    if (again.id !== first || again.duplicate !== true) {
        throw new Error(`the same CloudEvent twice: ${first} then ${JSON.stringify(again)}`);
    }

    const batch = `[${["1", "2", "3"].map((n) => event(`ce-node-batch-${n}`).toString()).join(",")}]`;
    const body = await post("/v1/events/batch", { "content-type": "application/cloudevents-batch+json" }, batch);
    const lines = body.trim().startsWith("[") ? JSON.parse(body) : body.trim().split("\n").map((line) => JSON.parse(line));
    if (lines.length !== 3) {
        throw new Error(`batch: ${lines.length} results for 3 events: ${body}`);
    }
    lines.forEach(accepted);
}

main().catch((error) => {
    console.error(error.message);
    process.exit(1);
});
