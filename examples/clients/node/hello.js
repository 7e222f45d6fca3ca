// Publish a message and wait for its confirm; consume and acknowledge it.
//   npm install amqplib && node hello.js
'use strict';
const amqp = require('amqplib');

async function main() {
  const connection = await amqp.connect(process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/%2f');
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('hello-node', { durable: true });

  channel.sendToQueue('hello-node', Buffer.from('hello'), { persistent: true });
  await channel.waitForConfirms(); // the message is on disk
  console.log('confirmed');

  const message = await new Promise((resolve) => channel.consume('hello-node', resolve));
  console.log('received', message.content.toString());
  channel.ack(message);
  await connection.close();
}

main();
