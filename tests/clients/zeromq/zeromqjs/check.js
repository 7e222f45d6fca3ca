// check.js STEP   what every ZeroMQ client is tried for: pipeline, publish-subscribe, request, dealer, router, heartbeats, restart,
// refused. Prints ok at the end. ZMQ_PUSH, ZMQ_PULL, ZMQ_PUB, ZMQ_SUB, ZMQ_REQ and ZMQ_REP are where a socket of that type connects to.
'use strict';
const assert = require('node:assert');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const zmq = require('zeromq');

const bytes = (message) => message.map((part) => Buffer.from(part));
const receive = async (socket) => (await socket.receive()).map((part) => Buffer.from(part));
const MESSAGES = [
  ['one'], [''], ['a', '', 'ccc', ''], ['x'.repeat(255)], ['x'.repeat(256), 'y'.repeat(100000)],
  ...Array.from({ length: 100 }, (_, number) => [`${number}`]),
].map(bytes);

function made(Type, name, options = {}) {
  const who = {};
  if (process.env.ZMQ_USER) Object.assign(who, { plainUsername: process.env.ZMQ_USER, plainPassword: process.env.ZMQ_PASSWORD });
  if (process.env.ZMQ_PUBLIC) {
    Object.assign(who, {
      curvePublicKey: process.env.ZMQ_PUBLIC,
      curveSecretKey: process.env.ZMQ_SECRET,
      curveServerKey: process.env[`ZMQ_${name}_KEY`],
    });
  }
  const receives = Type === zmq.Push || Type === zmq.Publisher ? {} : { receiveTimeout: 10000 };
  const sends = Type === zmq.Pull || Type === zmq.Subscriber ? {} : { sendTimeout: 10000 };
  return new Type({ linger: 0, reconnectInterval: 50, ...receives, ...sends, ...who, ...options });
}

function connected(Type, name, options) {
  const socket = made(Type, name, options);
  socket.connect(process.env[`ZMQ_${name}`]);
  return socket;
}

async function pipeline() {
  const [push, pull] = [connected(zmq.Push, 'PUSH'), connected(zmq.Pull, 'PULL')];
  for (const message of MESSAGES) await push.send(message);
  for (const message of MESSAGES) assert.deepStrictEqual(await receive(pull), message);
}

async function publishSubscribe() {
  const [pub, sub] = [connected(zmq.Publisher, 'PUB'), connected(zmq.Subscriber, 'SUB')];
  let next = receive(sub);
  const take = async () => {
    const message = await next;
    next = receive(sub);
    next.catch(() => {});
    return message.map(String);
  };
  // Until the subscription is known, publishes what it is for; then passes over what came of that.
  const subscribed = async (topic) => {
    sub.subscribe(topic);
    for (let number = 0; number < 200; number++) {
      await pub.send([topic, 'are you there']);
      if (await Promise.race([next, sleep(50)])) break;
    }
    await pub.send([topic, 'now']);
    while ((await take())[1] !== 'now');
  };
  await subscribed('price.');
  for (const message of [['price.eur', '1'], ['news', 'none'], ['price.usd', '', '2'], ['price']]) await pub.send(message);
  sub.subscribe('weather');
  assert.deepStrictEqual(await take(), ['price.eur', '1']);
  assert.deepStrictEqual(await take(), ['price.usd', '', '2']);
  sub.unsubscribe('price.');
  await subscribed('end');
  await pub.send(['price.gbp', '3']);
  await pub.send(['end', 'last']);
  assert.deepStrictEqual(await take(), ['end', 'last']);
}

async function request() {
  const [client, worker] = [connected(zmq.Request, 'REQ'), connected(zmq.Reply, 'REP')];
  for (let number = 0; number < 20; number++) {
    const [asked, told] = [bytes(['what is', '', `${number}`]), bytes(['it is', `${number}`])];
    await client.send(asked);
    assert.deepStrictEqual(await receive(worker), asked);
    await worker.send(told);
    assert.deepStrictEqual(await receive(client), told);
  }
}

async function dealer() {
  const [client, worker] = [connected(zmq.Dealer, 'REQ'), connected(zmq.Dealer, 'REP')];
  await client.send(['', 'one']);
  await client.send(['', 'two', 'parts']);
  for (const body of [['one'], ['two', 'parts']]) {
    const envelope = await receive(worker);
    const end = envelope.findIndex((part) => part.length === 0);
    assert.deepStrictEqual(envelope.slice(end + 1), bytes(body));
    await worker.send([...envelope.slice(0, end + 1), 're', ...body]);
  }
  const replies = [await receive(client), await receive(client)].map((reply) => reply.join('|')).sort();
  assert.deepStrictEqual(replies, ['|re|one', '|re|two|parts']);
}

async function router() {
  const [client, worker] = [connected(zmq.Request, 'REQ', { routingId: 'client' }), connected(zmq.Router, 'REP')];
  for (let number = 0; number < 5; number++) {
    await client.send(`${number}`);
    const message = await receive(worker);
    const [envelope, body] = [message.slice(0, -1), message.at(-1)];
    assert.strictEqual(`${body}`, `${number}`);
    assert.strictEqual(envelope.at(-1).length, 0);
    await worker.send([...envelope, 're', body]);
    assert.deepStrictEqual(await receive(client), bytes(['re', `${number}`]));
  }
}

async function heartbeats() {
  const beats = { heartbeatInterval: 100, heartbeatTimeToLive: 600, heartbeatTimeout: 500 };
  const [push, pull] = [connected(zmq.Push, 'PUSH', beats), connected(zmq.Pull, 'PULL', beats)];
  await push.send('before');
  assert.strictEqual(`${await receive(pull)}`, 'before');
  let gone = false;
  push.events.on('disconnect', () => { gone = true; });
  await sleep(1500);
  assert.ok(!gone, 'PINGs were not answered');
  await push.send('after');
  assert.strictEqual(`${await receive(pull)}`, 'after');
}

async function restart() {
  const [push, pull] = [connected(zmq.Push, 'PUSH'), connected(zmq.Pull, 'PULL')];
  await push.send('before');
  assert.strictEqual(`${await receive(pull)}`, 'before');
  console.log('ready');
  await once(process.stdin, 'data');
  let came = false;
  const after = receive(pull).then((message) => { came = true; return message; });
  for (let number = 0; number < 100 && !came; number++) {
    await push.send('after');
    await sleep(100);
  }
  assert.strictEqual(`${await after}`, 'after');
}

// ZMQ_EVENT: what libzmq says of it. Nothing is sent: the connection never stands.
async function refused() {
  const names = {
    HANDSHAKE_FAILED_AUTH: 'handshake:error:auth',
    HANDSHAKE_FAILED_NO_DETAIL: 'handshake:error:other',
  };
  const push = made(zmq.Push, 'PUSH', { immediate: true, sendTimeout: 500 });
  push.events.on('handshake', () => { throw new Error('it was let in'); });
  const refusal = new Promise((resolve) => push.events.on(names[process.env.ZMQ_EVENT], resolve));
  push.connect(process.env.ZMQ_PUSH);
  assert.ok(await Promise.race([refusal, sleep(10000)]), 'it was not refused');
  await assert.rejects(push.send('secret'), { code: 'EAGAIN' });
}

const steps = { pipeline, 'publish-subscribe': publishSubscribe, request, dealer, router, heartbeats, restart, refused };
steps[process.argv[2]]().then(
  () => { console.log('ok'); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
