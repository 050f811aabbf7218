// A receiver that verifies every request with the npm package `standardwebhooks`.
// Prints its port, then one JSON line per request: the id, whether the signature held, and the body's SHA-256.
const crypto = require("node:crypto");
const http = require("node:http");
const { Webhook } = require("standardwebhooks");

const webhook = new Webhook(process.env.WHSEC);

function holds(body, headers) {
  try {
    webhook.verify(body, headers);
    return true;
  } catch (error) {
    return false;
  }
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const bytes = Buffer.concat(parts);
    const body = bytes.toString("utf8");
    // A changed body must not verify, or the check proves nothing.
    const verified = holds(body, request.headers) && !holds(body + " ", request.headers);
    const sha256 = crypto.createHash("sha256").update(bytes).digest("hex");
    console.log(JSON.stringify({ id: request.headers["webhook-id"], verified, sha256 }));
    response.writeHead(verified ? 200 : 401).end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
