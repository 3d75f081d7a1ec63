// Writes down what a host does, as the log of a recording.
//
//   trace::Recorder recorder;
//   ... make the host with recorder as its observer, and its actors ...
//   SLUICE_TRY(recorder.begin(directory, recording));   // before the host starts
//   ... run, stop the host ...
//   SLUICE_TRY(recorder.end());
//
// A tensor is digested once, when it is first sent, on the thread that sends it, however many
// actors receive it and through however many channels.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/host/observer.hpp"
#include "runtime/trace/events.hpp"
#include "runtime/trace/log_writer.hpp"
#include "runtime/trace/recording.hpp"
#include "runtime/trace/tensor_digests.hpp"

namespace sluice::trace {

class Recorder final : public host::Observer {
 public:
  Recorder() = default;

  /// Before begin(): asked for the bytes of tensors on the device whenever a task has ended, on the
  /// thread that ran it.
  void measure_memory(std::function<std::int64_t()> bytes) { memory_bytes_ = std::move(bytes); }
  /// Makes the folder and its log, which begins with `recording`. A log that is there is replaced.
  [[nodiscard]] Status begin(const std::filesystem::path& directory, const Recording& recording);
  /// The first failure to write, after which the recording ends but the run goes on.
  [[nodiscard]] Status status() const;
  [[nodiscard]] std::uint64_t size_bytes() const { return log_ ? log_->size_bytes() : 0; }
  /// After the host has stopped.
  Status end();

  void on_send(ActorIndex from, ActorIndex to, const actors::Message& message,
               std::int64_t now_ns) override;
  void on_delivery(ActorIndex to, const actors::Message& message, std::int64_t now_ns) override;
  void on_task(ActorIndex actor, const actors::Task& task, host::TaskTimes times) override;

 private:
  [[nodiscard]] bool wants_payload(const actors::Message& message) const;

  std::unique_ptr<LogWriter> log_;
  Payloads payloads_ = Payloads::kNone;
  std::vector<std::int64_t> deliveries_;  // by actor, whose calls never overlap
  std::function<std::int64_t()> memory_bytes_;
  TensorDigests digests_;
};

}  // namespace sluice::trace
