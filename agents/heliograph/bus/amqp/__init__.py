"""RabbitMQ as a bus: the carrier for a cluster. The one door to pika (in `link`).

In: batches, published with confirms to the durable topic exchange `heliograph.v1`. Out: the same batches, taken from a
quorum queue for states and control and a bounded queue for samples, acknowledged after they were stored.

Servers declare the topology (every consumer does, and `declare`); publishers only publish, so that a user with no right
but to write into that exchange is enough for an agent.
"""

from __future__ import annotations

from heliograph.bus.amqp.consumer import AmqpConsumer
from heliograph.bus.amqp.dead import AmqpDeadLetters
from heliograph.bus.amqp.publisher import AmqpPublisher
from heliograph.bus.amqp.topology import declare

__all__ = ["AmqpConsumer", "AmqpDeadLetters", "AmqpPublisher", "declare"]
