// An authorization server, the npm package `oauth2-mock-server`, and a receiver that takes nothing but its tokens:
// it verifies signature, issuer and life of each with the keys that the server publishes.
//
// Prints both ports, then one JSON line per token request and per delivery. What the server does besides issuing
// tokens is chosen by the query of the token endpoint (?case=…), what the receiver does by its path.
const crypto = require("node:crypto");
const http = require("node:http");

// Both packages are ES modules, which NODE_PATH alone does not find.
const load = (name) => import(require.resolve(name));

const basic = "Basic " + Buffer.from(`${process.env.CLIENT_ID}:${process.env.CLIENT_SECRET}`).toString("base64");
const tell = (line) => console.log(JSON.stringify(line));
const listen = (server) =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

async function main() {
  const { OAuth2Issuer, OAuth2Service } = await load("oauth2-mock-server");
  const { createRemoteJWKSet, jwtVerify } = await load("jose");

  const issuer = new OAuth2Issuer();
  await issuer.keys.generate("RS256");
  const service = new OAuth2Service(issuer);
  service.on("beforeTokenSigning", (token, request) => {
    // Two tokens of the same second are otherwise the same.
    token.payload.jti = crypto.randomUUID();
    if (request.query.case === "short") token.payload.exp = token.payload.iat + 3;
  });
  service.on("beforeResponse", (response, request) => {
    const kind = request.query.case;
    if (request.headers.authorization !== basic) {
      Object.assign(response, { statusCode: 401, body: { error: "invalid_client" } });
    } else if (kind === "short") response.body.expires_in = 3;
    else if (kind === "huge") response.body.access_token = "x".repeat(10 << 20);
    else if (kind === "bare") delete response.body.access_token;
    const { statusCode, body } = response;
    tell({ case: kind, asked: statusCode, scope: body.scope, type: request.headers["content-type"] });
  });
  const server = http.createServer((request, response) => {
    const slow = request.url.includes("case=slow");
    setTimeout(() => service.requestHandler(request, response), slow ? 6000 : 0);
  });
  const serverPort = await listen(server);
  issuer.url = `http://127.0.0.1:${serverPort}`;

  const keys = createRemoteJWKSet(new URL(`${issuer.url}/jwks`));
  const refused = new Set();
  const receiver = http.createServer(async (request, response) => {
    request.resume();
    const kind = request.url.slice(1);
    let token = null;
    try {
      const [, text] = /^Bearer (\S+)$/.exec(request.headers.authorization);
      token = (await jwtVerify(text, keys, { issuer: issuer.url, algorithms: ["RS256"] })).payload.jti;
    } catch (error) {
      tell({ case: kind, delivered: 401, why: String(error) });
      return response.writeHead(401).end();
    }
    // Takes a good token for a bad one, once or always.
    const once = kind === "once" && refused.size === 0;
    if (once) refused.add(token);
    const code = once || refused.has(token) || kind === "never" ? 401 : 200;
    tell({ case: kind, delivered: code, token, attempt: request.headers["postrider-attempt"] });
    response.writeHead(code).end();
  });
  tell({ server: serverPort, receiver: await listen(receiver) });
}

main();
