// Sets of moments for lanes and channels, and a walk back along causes.
#include "runtime/trace/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "runtime/trace/intervals.hpp"

namespace sluice::trace {
namespace {

using Interval = Intervals::Interval;

template <class T>
const T& at(const std::vector<T>& items, std::int32_t index) {
  return items[static_cast<std::size_t>(index)];
}

// Steps that a report is of: those of training that ended, or all that ended.
std::vector<std::int32_t> steps_of(const Timeline& timeline) {
  std::vector<std::int32_t> training, all;
  for (std::size_t i = 0; i < timeline.steps.size(); ++i) {
    if (timeline.steps[i].ended_ns == kNone) continue;
    all.push_back(static_cast<std::int32_t>(i));
    if (timeline.steps[i].start.mode == actors::StepMode::kTrain) training.push_back(all.back());
  }
  return training.empty() ? all : training;
}

class Maker {
 public:
  Maker(const Timeline& timeline, std::vector<std::int32_t> steps)
      : timeline_(timeline), step_numbers_(std::move(steps)) {
    std::vector<Interval> spans;
    for (const std::int32_t s : step_numbers_) spans.push_back(span_of(s));
    span_ = Intervals(std::move(spans));
    sort_tasks();
  }

  Result<Report> make(std::optional<std::int64_t> step) {
    report_.span_ns = span_.length();
    use_lanes();
    use_actors();
    use_channels();
    use_steps();
    use_experts();
    SLUICE_TRY(choose(step));
    follow_chain();
    return std::move(report_);
  }

 private:
  [[nodiscard]] Interval span_of(std::int32_t step) const {
    const StepSpan& span = at(timeline_.steps, step);
    return {span.began_ns, span.ended_ns};
  }

  // Tasks of each lane by when they started; its moments of work.
  void sort_tasks() {
    std::vector<std::vector<Interval>> work(timeline_.lanes.size());
    lane_tasks_.resize(timeline_.lanes.size());
    before_.assign(timeline_.tasks.size(), kNone);
    for (std::size_t t = 0; t < timeline_.tasks.size(); ++t) {
      const TaskSpan& task = timeline_.tasks[t];
      work[static_cast<std::size_t>(task.lane)].push_back(
          {task.times.started_ns, task.times.ended_ns});
      lane_tasks_[static_cast<std::size_t>(task.lane)].push_back(static_cast<std::int32_t>(t));
      report_.memory_bytes_max = std::max(report_.memory_bytes_max, task.memory_bytes);
    }
    for (std::size_t l = 0; l < work.size(); ++l) {
      busy_.push_back(Intervals(std::move(work[l])) & span_);
      std::vector<std::int32_t>& tasks = lane_tasks_[l];
      // In virtual time a task may take none: then as they ended, which is the log's order.
      std::ranges::stable_sort(tasks, {}, [this](std::int32_t t) {
        const host::TaskTimes& times = at(timeline_.tasks, t).times;
        return std::pair(times.started_ns, times.ended_ns);
      });
      for (std::size_t i = 1; i < tasks.size(); ++i)
        before_[static_cast<std::size_t>(tasks[i])] = tasks[i - 1];
    }
  }

  [[nodiscard]] std::int32_t compute_lane(ActorIndex actor) const {
    if (actor < 0) return kNone;
    const std::int32_t rank =
        timeline_.recording.ranks_share_lanes ? 0 : at(timeline_.recording.actors, actor).rank;
    for (std::size_t l = 0; l < timeline_.lanes.size(); ++l) {
      const Timeline::Lane& lane = timeline_.lanes[l];
      if (lane.rank == rank && lane.kind == actors::Lane::kCompute)
        return static_cast<std::int32_t>(l);
    }
    return kNone;
  }

  void use_lanes() {
    std::vector<std::vector<Interval>> coming(timeline_.lanes.size());
    for (const Flight& flight : timeline_.messages) {
      const std::int32_t lane = flight.arrived_ns == kNone ? kNone : compute_lane(flight.to);
      if (lane != kNone)
        coming[static_cast<std::size_t>(lane)].push_back({flight.sent_ns, flight.arrived_ns});
    }
    for (std::size_t l = 0; l < timeline_.lanes.size(); ++l) {
      LaneUse use;
      use.lane = static_cast<std::int32_t>(l);
      use.busy_ns = busy_[l].length();
      use.exposed_ns = ((Intervals(std::move(coming[l])) & span_) - busy_[l]).length();
      use.bubble_ns = report_.span_ns - use.busy_ns - use.exposed_ns;
      report_.lanes.push_back(use);
    }
    std::ranges::sort(report_.lanes, {}, [this](const LaneUse& use) {
      const Timeline::Lane& lane = at(timeline_.lanes, use.lane);
      return std::pair(lane.rank, lane.kind);
    });
  }

  void use_actors() {
    std::vector<ActorUse> uses(timeline_.recording.actors.size());
    std::vector<std::vector<Interval>> work(uses.size());
    for (const TaskSpan& task : timeline_.tasks) {
      ActorUse& use = uses[static_cast<std::size_t>(task.actor)];
      use.actor = task.actor;
      use.lane = task.lane;
      ++use.tasks;
      work[static_cast<std::size_t>(task.actor)].push_back(
          {task.times.started_ns, task.times.ended_ns});
    }
    for (std::size_t a = 0; a < uses.size(); ++a) {
      if (uses[a].tasks == 0) continue;
      uses[a].busy_ns = (Intervals(std::move(work[a])) & span_).length();
      report_.actors.push_back(uses[a]);
    }
    std::stable_sort(report_.actors.begin(), report_.actors.end(),
                     [](const auto& a, const auto& b) { return a.busy_ns > b.busy_ns; });
  }

  void use_channels() {
    std::vector<std::vector<Interval>> flights(timeline_.recording.channels.size());
    report_.channels.resize(flights.size());
    for (const Flight& flight : timeline_.messages) {
      if (flight.channel == kNone || flight.arrived_ns == kNone) continue;
      ChannelUse& use = report_.channels[static_cast<std::size_t>(flight.channel)];
      ++use.messages;
      use.bytes += flight.bytes;
      flights[static_cast<std::size_t>(flight.channel)].push_back(
          {flight.sent_ns, flight.arrived_ns});
    }
    for (std::size_t c = 0; c < flights.size(); ++c) {
      ChannelUse& use = report_.channels[c];
      use.channel = static_cast<std::int32_t>(c);
      const Intervals on_way = Intervals(std::move(flights[c])) & span_;
      const std::int32_t lane = compute_lane(timeline_.recording.channels[c].to);
      if (lane != kNone) use.hidden_ns = (on_way & busy_[static_cast<std::size_t>(lane)]).length();
      use.exposed_ns = on_way.length() - use.hidden_ns;
    }
    for (const CreditsUsed& used : timeline_.credits) {
      std::int32_t& most = report_.channels[static_cast<std::size_t>(used.channel)].credits_max;
      most = std::max(most, used.count);
    }
  }

  void use_steps() {
    for (const std::int32_t s : step_numbers_) {
      const Intervals span({span_of(s)});
      StepUse use{s, span.length(), 0};
      std::int64_t lanes = 0;
      double busy = 0;
      for (std::size_t l = 0; l < timeline_.lanes.size(); ++l) {
        if (timeline_.lanes[l].kind != actors::Lane::kCompute) continue;
        ++lanes;
        busy += static_cast<double>((busy_[l] & span).length());
      }
      const double time = static_cast<double>(use.ns) * static_cast<double>(lanes);
      use.bubble = time > 0 ? 1 - busy / time : 0;
      report_.steps.push_back(use);
    }
  }

  void use_experts() {
    std::map<std::int32_t, std::vector<std::int64_t>> loads;
    for (const std::int32_t s : step_numbers_) {
      for (const actors::StepReport& step : at(timeline_.steps, s).report) {
        for (const actors::StepReport::Layer& layer : step.layers) {
          std::vector<std::int64_t>& sums = loads[layer.layer];
          sums.resize(std::max(sums.size(), layer.loads.size()));
          for (std::size_t e = 0; e < layer.loads.size(); ++e) sums[e] += layer.loads[e];
        }
      }
    }
    for (auto& [layer, sums] : loads) report_.experts.push_back({layer, std::move(sums)});
  }

  Status choose(std::optional<std::int64_t> number) {
    constexpr std::size_t kCold = 2;
    std::int64_t longest = -1;
    for (std::size_t i = 0; i < report_.steps.size(); ++i) {
      const StepUse& use = report_.steps[i];
      const bool is_it = number ? at(timeline_.steps, use.step).start.index + 1 == *number
                                : i >= kCold || report_.steps.size() <= kCold;
      if (!is_it || use.ns <= longest) continue;
      longest = use.ns;
      report_.shown = use.step;
    }
    if (report_.shown != kNone) return {};
    const auto first = at(timeline_.steps, step_numbers_.front()).start.index + 1;
    const auto last = at(timeline_.steps, step_numbers_.back()).start.index + 1;
    return invalid_input("step {} did not end in this recording; it has steps {} to {}", *number,
                         first, last);
  }

  // ---- The chain, from the end of the step back to its start

  void follow_chain() {
    const Interval step = span_of(report_.shown);
    now_ns_ = step.end;
    begin_ns_ = step.begin;
    Cause cause = cause_of_end(step.end);
    while (now_ns_ > step.begin) {
      if (cause.task != kNone) {
        cause = pass_task(cause.task);
      } else if (cause.message != kNone) {
        const Flight& flight = at(timeline_.messages, cause.message);
        act_until(flight.arrived_ns, flight.to);
        link(ChainLink::Kind::kFlight, cause.message, flight.to, flight.sent_ns);
        actor_ = flight.from;
        cause = flight.cause;
      } else if (cause.credit != kNone) {
        const CreditReturn& credit = at(timeline_.returns, cause.credit);
        const graph::ChannelPlan& channel = at(timeline_.recording.channels, credit.channel);
        link(ChainLink::Kind::kCredit, cause.credit, channel.from, credit.sent_ns);
        actor_ = channel.to;
        cause = credit.cause;
      } else {
        act_until(step.begin, actor_);
      }
    }
    std::reverse(report_.chain.begin(), report_.chain.end());
  }

  // Of the report that went out last.
  Cause cause_of_end(std::int64_t end_ns) {
    for (auto m = timeline_.messages.rbegin(); m != timeline_.messages.rend(); ++m) {
      if (m->to != graph::kOutside || m->sent_ns != end_ns) continue;
      actor_ = m->from;
      return m->cause;
    }
    return {};
  }

  // Its lane was busy with the task before, or it was there first.
  Cause pass_task(std::int32_t number) {
    const TaskSpan& task = at(timeline_.tasks, number);
    act_until(task.times.ended_ns, task.actor);
    link(ChainLink::Kind::kTask, number, task.actor, task.times.started_ns);
    actor_ = task.actor;
    const std::int32_t before = before_[static_cast<std::size_t>(number)];
    if (before != kNone && at(timeline_.tasks, before).times.ended_ns > task.times.submitted_ns) {
      Cause lane;
      lane.task = before;
      return lane;
    }
    act_until(task.times.submitted_ns, task.actor);
    return task.cause;
  }

  void act_until(std::int64_t from_ns, ActorIndex actor) {
    link(ChainLink::Kind::kActing, kNone, actor, from_ns);
  }
  void link(ChainLink::Kind kind, std::int32_t index, ActorIndex actor, std::int64_t began_ns) {
    const std::int64_t began = std::max(began_ns, begin_ns_);
    if (began >= now_ns_) return;
    report_.chain.push_back({kind, index, actor, began, now_ns_});
    now_ns_ = began;
  }

  const Timeline& timeline_;
  std::vector<std::int32_t> step_numbers_;
  Intervals span_;
  std::vector<Intervals> busy_;  // by lane, in the steps
  std::vector<std::vector<std::int32_t>> lane_tasks_;
  std::vector<std::int32_t> before_;  // by task: the one before it on its lane
  Report report_;
  // Of the walk back.
  std::int64_t begin_ns_ = 0;
  std::int64_t now_ns_ = 0;
  ActorIndex actor_ = graph::kNoActor;
};

double share(const Timeline& timeline, const std::vector<LaneUse>& lanes, std::int64_t span_ns,
             std::int64_t LaneUse::*part) {
  double sum = 0;
  std::int64_t count = 0;
  for (const LaneUse& use : lanes) {
    if (at(timeline.lanes, use.lane).kind != actors::Lane::kCompute) continue;
    sum += static_cast<double>(use.*part);
    ++count;
  }
  const double time = static_cast<double>(span_ns) * static_cast<double>(count);
  return time > 0 ? sum / time : 0;
}

}  // namespace

double ExpertUse::imbalance() const {
  const auto sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (sum == 0) return 1;
  const auto largest = *std::max_element(loads.begin(), loads.end());
  return static_cast<double>(largest) * static_cast<double>(loads.size()) /
         static_cast<double>(sum);
}

double Report::busy(const Timeline& t) const { return share(t, lanes, span_ns, &LaneUse::busy_ns); }
double Report::exposed(const Timeline& t) const {
  return share(t, lanes, span_ns, &LaneUse::exposed_ns);
}
double Report::bubble(const Timeline& t) const {
  return share(t, lanes, span_ns, &LaneUse::bubble_ns);
}
double Report::hidden() const {
  std::int64_t hidden_ns = 0, all_ns = 0;
  for (const ChannelUse& use : channels) {
    hidden_ns += use.hidden_ns;
    all_ns += use.hidden_ns + use.exposed_ns;
  }
  return all_ns > 0 ? static_cast<double>(hidden_ns) / static_cast<double>(all_ns) : 1;
}

std::string_view name_of(ChainLink::Kind kind) {
  constexpr std::string_view kNames[] = {"ran", "on its way", "credit", "acted"};
  return kNames[static_cast<std::size_t>(kind)];
}

Work work_of(std::string_view task) {
  constexpr std::string_view kOthers[] = {"optimizer",     "gradient norm",    "share gradients",
                                          "sum gradients", "read samples",     "snapshot",
                                          "sample",        "write checkpoint", "logits"};
  const auto has = [task](std::string_view part) { return task.find(part) != task.npos; };
  if (std::find(std::begin(kOthers), std::end(kOthers), task) != std::end(kOthers))
    return Work::kOther;
  if (has("weight gradient") || task == "embedding gradient") return Work::kWeights;
  if (has("gradient") || task == "head") return Work::kBackward;  // the head's is loss and both
  return Work::kForward;
}

Result<Report> make_report(const Timeline& timeline, std::optional<std::int64_t> step) {
  std::vector<std::int32_t> steps = steps_of(timeline);
  if (steps.empty()) {
    return invalid_input(
        "no step ended in this recording, so there is nothing to report; sluice trace export shows "
        "what began");
  }
  return Maker(timeline, std::move(steps)).make(step);
}

std::vector<ChainSum> sum_chain(const Timeline& timeline, const Report& report) {
  std::map<std::string, ChainSum> sums;
  for (const ChainLink& link : report.chain) {
    std::string what;
    switch (link.kind) {
      case ChainLink::Kind::kTask:
        what = fmt::format("{}: {}", timeline.recording.name(link.actor),
                           at(timeline.tasks, link.index).name);
        break;
      case ChainLink::Kind::kFlight: {
        const Flight& flight = at(timeline.messages, link.index);
        what = fmt::format("{} on its way to {}", name_of(flight.head.key.topic),
                           timeline.recording.name(link.actor));
        break;
      }
      case ChainLink::Kind::kCredit:
        what = fmt::format("{} waits for a credit", timeline.recording.name(link.actor));
        break;
      case ChainLink::Kind::kActing: what = "actors between messages and tasks"; break;
    }
    ChainSum& sum = sums[what];
    ++sum.count;
    sum.ns += link.ended_ns - link.began_ns;
  }
  std::vector<ChainSum> out;
  for (auto& [what, sum] : sums) {
    sum.what = what;
    out.push_back(std::move(sum));
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const ChainSum& a, const ChainSum& b) { return a.ns > b.ns; });
  return out;
}

}  // namespace sluice::trace
