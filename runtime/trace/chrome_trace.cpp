// Trace Event Format:
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
#include "runtime/trace/chrome_trace.hpp"

#include <iterator>
#include <nlohmann/json.hpp>

namespace sluice::trace {
namespace {

constexpr int kStepsProcess = 1001;
constexpr int kLanesProcess = 1002;
constexpr int kChannelsProcess = 1003;
constexpr std::size_t kPieceBytes = 1 << 16;

std::string json_text(std::string_view text) { return nlohmann::json(text).dump(); }

// Microseconds, as the format wants them, to the nanosecond.
std::string microseconds(std::int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

class Writer {
 public:
  Writer(const Timeline& timeline, const std::function<Status(std::string_view)>& write)
      : timeline_(timeline), write_(write) {}

  Status go() {
    piece_ = fmt::format(
        "{{\"metadata\":{{\"recorded\":{},\"kernels\":{},\"version\":{}}},\"traceEvents\":[",
        json_text(timeline_.recording.started), json_text(timeline_.recording.kernel_set),
        json_text(timeline_.recording.program));
    name_tracks();
    SLUICE_TRY(write_steps());
    SLUICE_TRY(write_tasks());
    SLUICE_TRY(write_messages());
    SLUICE_TRY(write_counters());
    piece_ += "\n]}\n";
    return write_(piece_);
  }

 private:
  template <class... Args>
  void event(fmt::format_string<Args...> format, Args&&... args) {
    piece_ += first_ ? "\n{" : ",\n{";
    first_ = false;
    fmt::format_to(std::back_inserter(piece_), format, std::forward<Args>(args)...);
    piece_ += '}';
  }
  Status flush() {
    if (piece_.size() < kPieceBytes) return {};
    SLUICE_TRY(write_(piece_));
    piece_.clear();
    return {};
  }

  void name_process(int process, const char* name) {
    event(R"("ph":"M","pid":{},"name":"process_name","args":{{"name":"{}"}})", process, name);
    event(R"("ph":"M","pid":{},"name":"process_sort_index","args":{{"sort_index":{}}})", process,
          process);
  }
  void name_track(int process, std::size_t track, std::string_view name) {
    event(R"("ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":{}}})", process, track,
          json_text(name));
    event(R"("ph":"M","pid":{},"tid":{},"name":"thread_sort_index","args":{{"sort_index":{}}})",
          process, track, track);
  }
  void name_tracks() {
    name_process(kStepsProcess, "steps");
    name_track(kStepsProcess, 1, "steps");
    name_process(kLanesProcess, "lanes");
    for (std::size_t lane = 0; lane < timeline_.lanes.size(); ++lane)
      name_track(kLanesProcess, lane + 1, timeline_.lanes[lane].name);
    name_process(kChannelsProcess, "channels");
  }

  Status write_steps() {
    for (const StepSpan& step : timeline_.steps) {
      const std::int64_t end = step.ended_ns == kNone ? timeline_.end_ns : step.ended_ns;
      const std::string note = timeline_.notes.of(step.start.step);
      event(R"("ph":"X","pid":{},"tid":1,"cat":"step","name":{},"ts":{},"dur":{})", kStepsProcess,
            json_text(note.empty() ? fmt::format("step {}", step.start.step) : note),
            microseconds(step.began_ns), microseconds(end - step.began_ns));
      SLUICE_TRY(flush());
    }
    return {};
  }

  Status write_tasks() {
    for (const TaskSpan& task : timeline_.tasks) {
      event(R"("ph":"X","pid":{},"tid":{},"cat":"task","name":{},"ts":{},"dur":{},)"
            R"("args":{{"actor":{},"step":{},"micro_batch":{},"layer":{},"waited_us":{}}})",
            kLanesProcess, task.lane + 1, json_text(task.name), microseconds(task.times.started_ns),
            microseconds(task.times.ended_ns - task.times.started_ns),
            json_text(timeline_.recording.name(task.actor)), task.key.step, task.key.micro_batch,
            task.key.layer, microseconds(task.times.started_ns - task.times.submitted_ns));
      SLUICE_TRY(flush());
    }
    return {};
  }

  // Messages of one channel overlap: each is an interval of its own, matched by id.
  Status write_messages() {
    for (std::size_t m = 0; m < timeline_.messages.size(); ++m) {
      const Flight& message = timeline_.messages[m];
      if (message.arrived_ns == kNone) continue;
      if (message.channel != kNone) write_flight(m, message);
      write_arrow(m, message);
      SLUICE_TRY(flush());
    }
    return {};
  }

  void write_flight(std::size_t id, const Flight& message) {
    const graph::ChannelPlan& channel =
        timeline_.recording.channels[static_cast<std::size_t>(message.channel)];
    // Intervals of one name and process share a track; what message it is stands beside.
    const std::string track = json_text(timeline_.recording.name(channel.actor));
    event(R"("ph":"b","pid":{},"cat":"message","id2":{{"local":"{}"}},"name":{},"ts":{},)"
          R"("args":{{"message":{},"bytes":{}}})",
          kChannelsProcess, id, track, microseconds(message.sent_ns),
          json_text(to_string(message.head)), message.bytes);
    event(R"("ph":"e","pid":{},"cat":"message","id2":{{"local":"{}"}},"name":{},"ts":{})",
          kChannelsProcess, id, track, microseconds(message.arrived_ns));
  }

  // Binds to the slices that are open at its ends: just before a task ended, and as one started.
  void write_arrow(std::size_t id, const Flight& message) {
    if (message.cause.task == kNone || message.task == kNone) return;
    const TaskSpan& from = timeline_.tasks[static_cast<std::size_t>(message.cause.task)];
    const TaskSpan& to = timeline_.tasks[static_cast<std::size_t>(message.task)];
    if (from.times.started_ns == from.times.ended_ns || to.times.started_ns == to.times.ended_ns)
      return;
    const std::string name = json_text(name_of(message.head.key.topic));
    event(R"("ph":"s","pid":{},"tid":{},"cat":"message","id":{},"name":{},"ts":{})", kLanesProcess,
          from.lane + 1, id, name, microseconds(from.times.ended_ns - 1));
    event(R"("ph":"f","bp":"e","pid":{},"tid":{},"cat":"message","id":{},"name":{},"ts":{})",
          kLanesProcess, to.lane + 1, id, name, microseconds(to.times.started_ns));
  }

  Status write_counters() {
    for (const CreditsUsed& used : timeline_.credits) {
      const graph::ChannelPlan& channel =
          timeline_.recording.channels[static_cast<std::size_t>(used.channel)];
      event(R"("ph":"C","pid":{},"name":{},"ts":{},"args":{{"of {}":{}}})", kChannelsProcess,
            json_text("credits in use, " + timeline_.recording.name(channel.actor)),
            microseconds(used.time_ns), channel.credits, used.count);
      SLUICE_TRY(flush());
    }
    for (const TaskSpan& task : timeline_.tasks) {
      if (task.memory_bytes == 0) continue;
      event(R"("ph":"C","pid":{},"name":"tensor memory","ts":{},"args":{{"MB":{:.3f}}})",
            kLanesProcess, microseconds(task.times.ended_ns),
            static_cast<double>(task.memory_bytes) * 1e-6);
      SLUICE_TRY(flush());
    }
    return {};
  }

  const Timeline& timeline_;
  const std::function<Status(std::string_view)>& write_;
  std::string piece_;
  bool first_ = true;
};

}  // namespace

Status write_chrome_trace(const Timeline& timeline,
                          const std::function<Status(std::string_view)>& write) {
  return Writer(timeline, write).go();
}

}  // namespace sluice::trace
