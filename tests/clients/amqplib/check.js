// check.js STEP   what every client is tried for: deliver, confirm, refused-login, refused-queue. Prints ok at the end.
'use strict';
const assert = require('node:assert');
const { randomUUID } = require('node:crypto');
const amqp = require('amqplib');

const place = { hostname: process.env.AMQP_HOST || 'localhost', port: Number(process.env.AMQP_PORT || 5672) };
const connect = (more = {}) => amqp.connect({ ...place, username: 'guest', password: 'guest', ...more });

async function deliver() {
  const connection = await connect();
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.prefetch(10);
  const sent = Array.from({ length: 100 }, (_, number) => `message ${number}`);
  const headers = { n: 1, list: ['a', true, null], nested: { deep: 'yes' } };
  for (const text of sent) channel.sendToQueue(queue, Buffer.from(text), { contentType: 'text/plain', headers });
  const received = [];
  await new Promise((resolve, reject) => {
    channel.consume(queue, (message) => {
      try {
        assert.deepStrictEqual(message.properties.headers, headers);
        received.push(message.content.toString());
        channel.ack(message);
        if (received.length === sent.length) resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
  assert.deepStrictEqual(received, sent);
  await connection.close();
}

async function confirm() {
  const connection = await connect();
  const channel = await connection.createConfirmChannel();
  const queue = `amqplib-${randomUUID()}`;
  await channel.assertQueue(queue, { durable: true });
  let returned = 0;
  channel.on('return', (message) => {
    assert.strictEqual(message.fields.replyCode, 312);
    returned += 1;
  });
  for (let number = 0; number < 20; number += 1) {
    channel.sendToQueue(queue, Buffer.from(String(number)), { persistent: true, mandatory: true });
  }
  channel.sendToQueue('nowhere-at-all', Buffer.from('lost'), { mandatory: true });
  await channel.waitForConfirms();
  assert.strictEqual(returned, 1);
  assert.strictEqual((await channel.deleteQueue(queue)).messageCount, 20);
  await connection.close();
}

async function refusedLogin() {
  await assert.rejects(connect({ password: 'wrong' }), /403.*ACCESS[_-]REFUSED/);
}

async function refusedQueue() {
  const connection = await connect();
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  const queue = `amqplib-${randomUUID()}`;
  await channel.assertQueue(queue, { durable: true });
  await assert.rejects(channel.assertQueue(queue, { durable: true, autoDelete: true }), /406.*inequivalent arg 'auto_delete'/);
  await (await connection.createChannel()).deleteQueue(queue);
  await connection.close();
}

const steps = { deliver, confirm, 'refused-login': refusedLogin, 'refused-queue': refusedQueue };
steps[process.argv[2]]().then(() => console.log('ok'), (error) => {
  console.error(error);
  process.exit(1);
});
