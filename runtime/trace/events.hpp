// What the records of a log say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "actors/context.hpp"
#include "runtime/host/observer.hpp"
#include "runtime/trace/log_reader.hpp"
#include "runtime/trace/message_codec.hpp"

namespace sluice::trace {

using graph::ActorIndex;

struct SendEvent {
  ActorIndex from = graph::kNoActor;
  ActorIndex to = graph::kNoActor;
  std::int64_t time_ns = 0;
  MessageHead head;
  std::span<const std::byte> message;  ///< encoded, head included; lives as long as its record
};
/// A channel hands on the oldest message, other than credits, that was delivered to it.
struct ForwardEvent {
  ActorIndex from = graph::kNoActor;
  ActorIndex to = graph::kNoActor;
  std::int64_t time_ns = 0;
};
struct DeliveryEvent {
  ActorIndex to = graph::kNoActor;
  ActorIndex from = graph::kNoActor;  ///< who handed it over; kNoActor: the host
  std::int64_t time_ns = 0;
  std::int64_t sequence = 0;           ///< of the deliveries to `to`, from 0
  std::optional<std::uint64_t> task;   ///< TaskDone
  std::optional<std::uint64_t> timer;  ///< TimerFired
};
struct TaskEvent {
  ActorIndex actor = graph::kNoActor;
  actors::Lane lane = actors::Lane::kCompute;
  std::int32_t priority = 0;
  std::uint64_t id = 0;
  double operations = 0;
  actors::Key key{};
  host::TaskTimes times;
  std::int64_t memory_bytes = 0;  ///< of tensors on its device when it ended; 0: not known
  std::string name;
};
struct PayloadEvent {
  ArrayInfo info;
  std::uint64_t offset = 0;             ///< of its record
  std::span<const std::byte> elements;  ///< empty where payloads are skipped
};

using Event = std::variant<SendEvent, ForwardEvent, DeliveryEvent, TaskEvent, PayloadEvent>;

/// Contents of the records that the events are read from.
void encode_send(ActorIndex from, ActorIndex to, std::int64_t time_ns,
                 const actors::Message& message, ArrayVisitor& arrays, ByteWriter& out);
void encode(const ForwardEvent& event, ByteWriter& out);
void encode(const DeliveryEvent& event, ByteWriter& out);
void encode(ActorIndex actor, const actors::Task& task, host::TaskTimes times,
            std::int64_t memory_bytes, ByteWriter& out);
/// Its head; the elements follow.
void encode(const ArrayInfo& payload, ByteWriter& out);

/// Errors: a record that is none of these.
[[nodiscard]] Result<Event> parse(const Record& record);

}  // namespace sluice::trace
