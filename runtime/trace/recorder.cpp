// From calls to records.
#include "runtime/trace/recorder.hpp"

#include "kernels/base/digest.hpp"
#include "runtime/store/file.hpp"

namespace sluice::trace {
namespace {

// Digests the arrays of one message, and writes the elements of those that are wanted and new.
class ArrayRecorder final : public ArrayVisitor {
 public:
  ArrayRecorder(TensorDigests& digests, LogWriter* payloads)
      : digests_(digests), payloads_(payloads) {}

  std::uint64_t digest_of(DType dtype, const Shape& shape, std::span<const std::byte> elements,
                          const Tensor* owner) override {
    const bool wanted = payloads_ != nullptr;
    const TensorDigests::Found found = owner != nullptr
                                           ? digests_.find(*owner, wanted)
                                           : TensorDigests::Found{sluice::digest(elements), wanted};
    if (found.write) {
      ByteWriter head;
      encode(ArrayInfo{ArrayInfo::State::kValues, dtype, shape, found.digest}, head);
      payloads_->append(RecordKind::kPayload, head.bytes(), elements);
    }
    return found.digest;
  }

 private:
  TensorDigests& digests_;
  LogWriter* payloads_;
};

}  // namespace

Status Recorder::begin(const std::filesystem::path& directory, const Recording& recording) {
  SLUICE_TRY(store::make_directories(directory));
  SLUICE_ASSIGN(log_, LogWriter::create(directory / kLogName));
  payloads_ = recording.payloads;
  deliveries_.assign(recording.actors.size(), 0);
  const std::string header = to_json(recording);
  log_->append(RecordKind::kHeader, std::as_bytes(std::span(header)));
  return log_->status();
}

Status Recorder::status() const { return log_ ? log_->status() : Status{}; }

Status Recorder::end() { return log_ ? log_->close() : Status{}; }

bool Recorder::wants_payload(const actors::Message& message) const {
  using actors::Topic;
  if (std::holds_alternative<actors::Tokens>(message.body)) return true;
  if (std::holds_alternative<actors::SnapshotPart>(message.body)) return false;
  if (payloads_ != Payloads::kBoundary) return payloads_ == Payloads::kAll;
  const Topic topic = message.key.topic;
  return topic == Topic::kActivation || topic == Topic::kGradient || topic == Topic::kEmbedding ||
         topic == Topic::kEmbeddingGradient;
}

void Recorder::on_send(ActorIndex from, ActorIndex to, const actors::Message& message,
                       std::int64_t now_ns) {
  if (log_ == nullptr) return;
  ByteWriter record;
  if (message.via == from && from >= 0) {
    encode(ForwardEvent{from, to, now_ns}, record);
    return log_->append(RecordKind::kForward, record.bytes());
  }
  ArrayRecorder arrays(digests_, wants_payload(message) ? log_.get() : nullptr);
  encode_send(from, to, now_ns, message, arrays, record);
  log_->append(RecordKind::kSend, record.bytes());
}

void Recorder::on_delivery(ActorIndex to, const actors::Message& message, std::int64_t now_ns) {
  if (log_ == nullptr) return;
  DeliveryEvent event{to, host::handed_over_by(message), now_ns, 0, {}, {}};
  event.sequence = deliveries_[static_cast<std::size_t>(to)]++;
  if (const auto* done = std::get_if<actors::TaskDone>(&message.body)) event.task = done->task;
  if (const auto* fired = std::get_if<actors::TimerFired>(&message.body))
    event.timer = fired->timer;
  ByteWriter record;
  encode(event, record);
  log_->append(RecordKind::kDelivery, record.bytes());
}

void Recorder::on_task(ActorIndex actor, const actors::Task& task, host::TaskTimes times) {
  if (log_ == nullptr) return;
  ByteWriter record;
  encode(actor, task, times, memory_bytes_ ? memory_bytes_() : 0, record);
  log_->append(RecordKind::kTask, record.bytes());
}

}  // namespace sluice::trace
