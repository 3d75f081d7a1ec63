// What recording costs, measured inside one run: an observer that records every second step and
// takes the time of it.
#pragma once

#include <atomic>
#include <chrono>

#include "runtime/trace/recorder.hpp"

namespace sluice::bench {

class RecordMeter final : public host::Observer {
 public:
  [[nodiscard]] trace::Recorder& recorder() { return recorder_; }
  /// Between steps.
  void set_recording(bool on) { on_ = on; }
  /// Spent in the recorder, on all threads together.
  [[nodiscard]] double seconds() const { return static_cast<double>(spent_ns_) * 1e-9; }
  [[nodiscard]] std::int64_t calls() const { return calls_; }

  void on_send(actors::ActorIndex from, actors::ActorIndex to, const actors::Message& message,
               std::int64_t now_ns) override {
    timed([&] { recorder_.on_send(from, to, message, now_ns); });
  }
  void on_delivery(actors::ActorIndex to, const actors::Message& message,
                   std::int64_t now_ns) override {
    timed([&] { recorder_.on_delivery(to, message, now_ns); });
  }
  void on_task(actors::ActorIndex actor, const actors::Task& task, host::TaskTimes times) override {
    timed([&] { recorder_.on_task(actor, task, times); });
  }

 private:
  template <class F>
  void timed(F&& record) {
    if (!on_) return;
    const auto began = std::chrono::steady_clock::now();
    record();
    spent_ns_ += std::chrono::nanoseconds(std::chrono::steady_clock::now() - began).count();
    calls_ += 1;
  }

  trace::Recorder recorder_;
  std::atomic<bool> on_{false};
  std::atomic<std::int64_t> spent_ns_{0}, calls_{0};
};

}  // namespace sluice::bench
