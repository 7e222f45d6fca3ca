// Answer the questions of ZeroMQ's REQ sockets, as an RPC server of AMQP: it knows nothing of ZeroMQ.
//   npm install amqplib && node worker.js
'use strict';
const amqp = require('amqplib');

async function main() {
  const connection = await amqp.connect(process.env.AMQP_URL || 'amqp://guest:guest@localhost:5672/%2f');
  const channel = await connection.createChannel();
  await channel.prefetch(1);
  await channel.consume('questions', (message) => {
    const { replyTo, correlationId } = message.properties;
    const product = message.content.toString().split(' ').reduce((a, b) => a * Number(b), 1);
    channel.sendToQueue(replyTo, Buffer.from(String(product)), { correlationId });
    channel.ack(message);
  });
  console.log('working');
}

main();
