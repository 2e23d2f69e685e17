// A certified OpenID provider for the tests: https on a free loopback port, refresh tokens that rotate and whose reuse
// ends the whole family. It does what the lines on its standard input say, answers each with a line of JSON, and ends
// with its input.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const { issuer, key, certificate, secret, life, access, refresh } = JSON.parse(process.argv[2]);

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'service',
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
    {
      client_id: 'user',
      client_secret: secret,
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://client.test/callback'],
      response_types: ['code'],
    },
  ],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  findAccount: (ctx, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'read'],
  ttl: { AccessToken: life, ClientCredentials: life, Grant: 86400, IdToken: 60, RefreshToken: 86400 },
});

// Every token begins so that the canary finds it.
for (const [model, prefix] of [['AccessToken', access], ['ClientCredentials', access], ['RefreshToken', refresh]]) {
  const { prototype } = provider[model];
  const generate = prototype.generateTokenId;
  prototype.generateTokenId = function generateTokenId() {
    return `${prefix}.${generate.call(this)}`;
  };
}

let mode = 'serve';
let requests = 0; // to the token endpoint
let refused = 0; // of them, with a 4xx
const handle = provider.callback();

const server = https.createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, response) => {
  if (request.url !== '/token') {
    handle(request, response);
    return;
  }
  requests += 1;
  if (mode === 'hang') return;
  if (mode === 'fail') {
    response.writeHead(500, { 'content-type': 'text/html' }).end('<h1>Oops</h1>');
    return;
  }
  response.on('finish', () => {
    if (response.statusCode >= 400 && response.statusCode < 500) refused += 1;
  });
  handle(request, response);
});

// What a browser's visit would have led to: an account's consent, and the first refresh token under it.
async function mint() {
  const client = await provider.Client.find('user');
  const grant = new provider.Grant({ accountId: 'test-account', clientId: client.clientId });
  grant.addOIDCScope('openid offline_access read');
  const token = new provider.RefreshToken({
    accountId: 'test-account',
    client,
    grantId: await grant.save(),
    gty: 'authorization_code',
    iiat: Math.floor(Date.now() / 1000),
    rotations: 0,
    scope: 'openid offline_access read',
  });
  return token.save();
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const commands = {
  count: () => say({ requests, refused }),
  mint: async () => say({ token: await mint() }),
  fail: () => say({ mode: (mode = 'fail') }),
  hang: () => say({ mode: (mode = 'hang') }),
  serve: () => say({ mode: (mode = 'serve') }),
};

server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
createInterface({ input: process.stdin })
  .on('line', (line) => commands[line]())
  .on('close', () => process.exit(0));
