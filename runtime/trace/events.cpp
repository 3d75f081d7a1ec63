// Records to events and back, field by field.
#include "runtime/trace/events.hpp"

namespace sluice::trace {
namespace {

// What a delivery brings besides messages of actors.
enum class FromHost : std::uint8_t { kNothing, kTask, kTimer };

SendEvent take_send(ByteReader& in) {
  SendEvent event;
  in.take_into(event.from);
  in.take_into(event.to);
  in.take_into(event.time_ns);
  event.message = in.rest();
  event.head = take_head(in);
  static_cast<void>(in.take_bytes(in.rest().size()));
  return event;
}

ForwardEvent take_forward(ByteReader& in) {
  ForwardEvent event;
  in.take_into(event.from);
  in.take_into(event.to);
  in.take_into(event.time_ns);
  return event;
}

DeliveryEvent take_delivery(ByteReader& in) {
  DeliveryEvent event;
  in.take_into(event.to);
  in.take_into(event.from);
  in.take_into(event.time_ns);
  in.take_into(event.sequence);
  const auto what = in.take<FromHost>();
  const auto id = in.take<std::uint64_t>();
  if (what == FromHost::kTask) event.task = id;
  if (what == FromHost::kTimer) event.timer = id;
  return event;
}

TaskEvent take_task(ByteReader& in) {
  TaskEvent event;
  in.take_into(event.actor);
  in.take_into(event.lane);
  in.take_into(event.priority);
  in.take_into(event.id);
  in.take_into(event.operations);
  event.key = take_key(in);
  in.take_into(event.times.submitted_ns);
  in.take_into(event.times.started_ns);
  in.take_into(event.times.ended_ns);
  in.take_into(event.memory_bytes);
  event.name = in.take_text();
  return event;
}

}  // namespace

void encode_send(ActorIndex from, ActorIndex to, std::int64_t time_ns,
                 const actors::Message& message, ArrayVisitor& arrays, ByteWriter& out) {
  out.put(from);
  out.put(to);
  out.put(time_ns);
  encode(message, arrays, out);
}

void encode(const ForwardEvent& event, ByteWriter& out) {
  out.put(event.from);
  out.put(event.to);
  out.put(event.time_ns);
}

void encode(const DeliveryEvent& event, ByteWriter& out) {
  out.put(event.to);
  out.put(event.from);
  out.put(event.time_ns);
  out.put(event.sequence);
  out.put(event.task ? FromHost::kTask : event.timer ? FromHost::kTimer : FromHost::kNothing);
  out.put(event.task ? *event.task : event.timer.value_or(0));
}

void encode(ActorIndex actor, const actors::Task& task, host::TaskTimes times,
            std::int64_t memory_bytes, ByteWriter& out) {
  out.put(actor);
  out.put(task.lane);
  out.put(task.priority);
  out.put(task.id);
  out.put(task.operations);
  put_key(out, task.key);
  out.put(times.submitted_ns);
  out.put(times.started_ns);
  out.put(times.ended_ns);
  out.put(memory_bytes);
  out.put_text(task.name);
}

void encode(const ArrayInfo& payload, ByteWriter& out) { put_array(out, payload); }

Result<Event> parse(const Record& record) {
  ByteReader in(record.content);
  Event event;
  bool known = true;
  switch (record.kind) {
    case RecordKind::kSend: event = take_send(in); break;
    case RecordKind::kForward: event = take_forward(in); break;
    case RecordKind::kDelivery: event = take_delivery(in); break;
    case RecordKind::kTask: event = take_task(in); break;
    case RecordKind::kPayload: {
      const ArrayInfo info = take_array(in);
      event = PayloadEvent{info, record.offset, in.rest()};
      static_cast<void>(in.take_bytes(in.rest().size()));
      break;
    }
    default: known = false;
  }
  if (!known || !in.ok() || !in.rest().empty())
    return failed("the record at byte {} is not one of this format", record.offset);
  return event;
}

}  // namespace sluice::trace
