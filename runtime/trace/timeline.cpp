// One pass that keeps, for each pair of actors, what is on its way between them.
#include "runtime/trace/timeline.hpp"

#include <deque>
#include <map>
#include <set>

namespace sluice::trace {
namespace {

template <class T>
std::int32_t size_of(const std::vector<T>& items) {
  return static_cast<std::int32_t>(items.size());
}

class Builder {
 public:
  explicit Builder(Timeline& out) : out_(out) {
    acting_.resize(out.recording.actors.size());
    for (std::int32_t c = 0; c < size_of(out.recording.channels); ++c)
      channels_[out.recording.channels[static_cast<std::size_t>(c)].actor] = c;
  }

  Status take(const SendEvent& event) {
    seen(event.time_ns);
    if (is_credit(event.head)) {
      take_credit(event);
      return {};
    }
    SLUICE_TRY(note_step(event));
    Flight flight;
    flight.from = event.from;
    flight.to = event.to;
    flight.head = event.head;
    flight.sent_ns = event.time_ns;
    if (event.from >= 0) flight.cause = acting_.at(static_cast<std::size_t>(event.from)).cause;
    if (const auto channel = channels_.find(event.to); channel != channels_.end()) {
      flight.channel = channel->second;
      flight.to = plan_of(channel->second).to;
    }
    SLUICE_ASSIGN(const auto arrays, arrays_of(ByteReader(event.message)));
    for (const ArrayInfo& array : arrays)
      flight.bytes += array.shape.count() * static_cast<std::int64_t>(sluice::size_of(array.dtype));
    if (event.to != graph::kOutside)
      on_way_[{event.from, event.to}].push_back(size_of(out_.messages));
    out_.messages.push_back(flight);
    return {};
  }

  Status take(const ForwardEvent& event) {
    seen(event.time_ns);
    std::deque<std::int32_t>& held = held_[event.from];
    if (held.empty()) return failed("the log says that a channel passed on a message it never got");
    on_way_[{event.from, event.to}].push_back(held.front());
    held.pop_front();
    use_credit(event.from, +1, event.time_ns);
    return {};
  }

  Status take(const DeliveryEvent& event) {
    seen(event.time_ns);
    Acting& acting = acting_.at(static_cast<std::size_t>(event.to));
    acting.cause = {};
    acting.since_ns = event.time_ns;
    if (event.task) {
      const auto found = tasks_.find({event.to, *event.task});
      if (found != tasks_.end()) acting.cause.task = found->second;
    } else if (!event.timer) {
      SLUICE_TRY(take_message(event, acting));
    }
    acting.history.emplace_back(event.time_ns, acting.cause);
    return {};
  }

  Status take(const TaskEvent& event) {
    seen(event.times.ended_ns);
    tasks_[{event.actor, event.id}] = size_of(out_.tasks);
    TaskSpan span;
    span.actor = event.actor;
    span.lane = lane(event);
    span.name = name(event.name);
    span.key = event.key;
    span.operations = event.operations;
    span.times = event.times;
    span.memory_bytes = event.memory_bytes;
    span.cause = cause_at(event.actor, event.times.submitted_ns);
    const std::int32_t number = size_of(out_.tasks);
    if (span.cause.message != kNone) {
      std::int32_t& first = out_.messages[static_cast<std::size_t>(span.cause.message)].task;
      if (first == kNone) first = number;
    }
    out_.tasks.push_back(span);
    return {};
  }

  Status take(const PayloadEvent&) { return {}; }

 private:
  struct Acting {
    Cause cause;
    std::int64_t since_ns = 0;
    std::deque<std::pair<std::int64_t, Cause>> history;  // of deliveries, until tasks of then end
  };

  const graph::ChannelPlan& plan_of(std::int32_t channel) const {
    return out_.recording.channels[static_cast<std::size_t>(channel)];
  }
  static bool is_credit(const MessageHead& head) {
    static const std::uint32_t kind =
        static_cast<std::uint32_t>(actors::Body(actors::Credit{}).index());
    return head.kind == kind;
  }
  void seen(std::int64_t time_ns) { out_.end_ns = std::max(out_.end_ns, time_ns); }

  Status take_message(const DeliveryEvent& event, Acting& acting) {
    std::deque<std::int32_t>& queue = on_way_[{event.from, event.to}];
    if (queue.empty()) return failed("the log says that a message came that was not sent");
    const std::int32_t message = queue.front();
    queue.pop_front();
    const auto channel = channels_.find(event.to);
    if (message < kNone) {
      acting.cause.credit = kFirstCredit - message;
      if (channel != channels_.end()) use_credit(event.to, -1, event.time_ns);
      return {};
    }
    if (channel != channels_.end()) {
      held_[event.to].push_back(message);
      return {};
    }
    out_.messages[static_cast<std::size_t>(message)].arrived_ns = event.time_ns;
    acting.cause.message = message;
    return {};
  }

  // A receiver's credit goes to the channel, and what the channel gives its sender comes of it.
  void take_credit(const SendEvent& event) {
    const Cause cause = acting_.at(static_cast<std::size_t>(event.from)).cause;
    // A channel gives what it kept when its sender has run out, too: on a message, not a credit.
    const auto kept = last_return_.find(event.from);
    std::int32_t number = cause.credit;
    if (number == kNone && kept != last_return_.end()) number = kept->second;
    if (const auto channel = channels_.find(event.to); channel != channels_.end()) {
      number = last_return_[event.to] = size_of(out_.returns);
      out_.returns.push_back({channel->second, event.time_ns, cause});
    }
    on_way_[{event.from, event.to}].push_back(kFirstCredit - number);
  }

  // A task is submitted while its actor acts on the last delivery before.
  Cause cause_at(ActorIndex actor, std::int64_t time_ns) {
    auto& history = acting_.at(static_cast<std::size_t>(actor)).history;
    Cause cause;
    for (auto entry = history.rbegin(); entry != history.rend(); ++entry) {
      if (entry->first > time_ns) continue;
      cause = entry->second;
      break;
    }
    while (history.size() > kHistory) history.pop_front();
    return cause;
  }

  void use_credit(ActorIndex channel, std::int32_t change, std::int64_t time_ns) {
    const std::int32_t number = channels_.at(channel);
    out_.credits.push_back({number, time_ns, used_[number] += change});
  }

  std::int32_t lane(const TaskEvent& event) {
    const std::int32_t rank =
        out_.recording.ranks_share_lanes
            ? 0
            : out_.recording.actors.at(static_cast<std::size_t>(event.actor)).rank;
    const auto [found, fresh] = lanes_.try_emplace({rank, event.lane}, size_of(out_.lanes));
    if (fresh) {
      const char* what = event.lane == actors::Lane::kCompute ? "compute" : "storage";
      out_.lanes.push_back({out_.recording.ranks_share_lanes
                                ? fmt::format("CPU {}", what)
                                : fmt::format("rank {} {}", rank, what),
                            rank, event.lane});
    }
    return found->second;
  }

  std::string_view name(const std::string& text) {
    const auto found = names_.find(text);
    if (found != names_.end()) return *found;
    out_.names.push_back(std::make_unique<const std::string>(text));
    return *names_.insert(*out_.names.back()).first;
  }

  Status note_step(const SendEvent& event) {
    static const std::size_t kStart = actors::Body(actors::StepStart{}).index();
    static const std::size_t kReport = actors::Body(actors::StepReport{}).index();
    if (event.head.kind != kStart && (event.head.kind != kReport || event.to != graph::kOutside))
      return {};
    ByteReader bytes(event.message);
    SLUICE_ASSIGN(const actors::Message message, decode(bytes, {}));
    if (const auto* start = std::get_if<actors::StepStart>(&message.body)) {
      if (out_.steps.empty() || out_.steps.back().start.step < start->step)
        out_.steps.push_back({*start, event.time_ns, kNone, {}});
      out_.notes.met(*start);
    } else if (!out_.steps.empty()) {
      out_.steps.back().ended_ns = event.time_ns;
      out_.steps.back().report = {std::get<actors::StepReport>(message.body)};
    }
    return {};
  }

  static constexpr std::int32_t kFirstCredit = kNone - 2;  // on its way, in place of a message
  static constexpr std::size_t kHistory = 4096;            // deliveries that a task may outlast

  Timeline& out_;
  std::vector<Acting> acting_;
  std::map<ActorIndex, std::int32_t> channels_;
  std::map<std::int32_t, std::int32_t> used_;  // credits, by channel
  std::map<std::pair<ActorIndex, ActorIndex>, std::deque<std::int32_t>> on_way_;
  std::map<ActorIndex, std::deque<std::int32_t>> held_;  // by channels
  std::map<ActorIndex, std::int32_t> last_return_;       // by channels
  std::map<std::pair<ActorIndex, std::uint64_t>, std::int32_t> tasks_;
  std::map<std::pair<std::int32_t, actors::Lane>, std::int32_t> lanes_;
  std::set<std::string_view> names_;
};

}  // namespace

Result<Timeline> read_timeline(const std::filesystem::path& directory) {
  SLUICE_ASSIGN(LogReader log, LogReader::open(directory));
  Timeline out;
  SLUICE_ASSIGN(out.recording, read_recording(log));
  log.skip_payloads();
  Builder builder(out);
  for (;;) {
    SLUICE_ASSIGN(const auto record, log.next());
    if (!record) break;
    SLUICE_ASSIGN(const Event event, parse(*record));
    SLUICE_TRY(std::visit([&builder](const auto& e) { return builder.take(e); }, event));
  }
  out.closed = log.closed();
  return out;
}

}  // namespace sluice::trace
