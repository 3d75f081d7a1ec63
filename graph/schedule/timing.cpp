// Plays the programs in virtual time.
#include "graph/schedule/timing.hpp"

#include <algorithm>

namespace sluice::graph {
namespace {

constexpr Ticks kNever = -1;

// A pass on its route, wherever it is held. B counts as I: who waits for a gradient takes either.
struct Event {
  PassKind kind = PassKind::kForward;  // F or I
  std::int32_t route = 0;
  std::int32_t stage = 0;
  std::int32_t micro_batch = 0;
  friend bool operator==(const Event&, const Event&) = default;
};

class Player {
 public:
  Player(const Schedule& schedule, const ActionTime& time, Ticks transfer)
      : schedule_(schedule), time_(time), transfer_(transfer), ranks_(schedule.programs.size()) {
    for (const Route& route : schedule.placement.routes()) {
      first_.push_back(static_cast<std::int64_t>(ends_[0].size()));
      const std::size_t more = route.ranks.size() * static_cast<std::size_t>(route.micro_batches);
      for (auto& ends : ends_) ends.resize(ends.size() + more, kNever);
    }
  }

  Result<Timing> play() {
    for (std::int32_t r = 0; r < placement().ranks(); ++r) ready_.push_back(r);
    while (!ready_.empty()) {
      const std::int32_t rank = ready_.back();
      ready_.pop_back();
      run(rank);
    }
    return finish();
  }

 private:
  struct Rank {
    std::size_t next = 0;  // in the program
    Ticks free = 0;
    Ticks busy = 0;
    Event waits_for;  // where next is not at the program's end
    std::vector<Span> spans;
  };

  const Placement& placement() const { return schedule_.placement; }
  const Program& program(std::int32_t rank) const {
    return schedule_.programs[static_cast<std::size_t>(rank)];
  }
  Rank& rank_of(std::int32_t rank) { return ranks_[static_cast<std::size_t>(rank)]; }
  const Rank& rank_of(std::int32_t rank) const { return ranks_[static_cast<std::size_t>(rank)]; }

  Ticks& end_of(const Event& event) {
    const Route& route = placement().routes()[static_cast<std::size_t>(event.route)];
    const std::int64_t index = first_[static_cast<std::size_t>(event.route)] +
                               std::int64_t{event.stage} * route.micro_batches + event.micro_batch;
    return ends_[event.kind == PassKind::kForward ? 0 : 1][static_cast<std::size_t>(index)];
  }
  std::int32_t holder_rank(const Event& event) const {
    return placement().holder(event.route, event.stage).rank;
  }

  // What a pass needs, at most two events, of which the first is from the next rank on its way.
  struct Needs {
    std::array<Event, 2> events;
    std::size_t count = 0;
    void add(const Event& event) { events[count++] = event; }
  };
  Needs needs_of(std::int32_t rank, const Pass& pass) const {
    const Placement::Chunk at = placement().chunk(rank, pass.chunk);
    const auto event = [&](PassKind kind, std::int32_t stage) {
      return Event{kind, at.route, stage, pass.micro_batch};
    };
    Needs needs;
    switch (pass.kind) {
      case PassKind::kForward:
        if (at.stage > 0) needs.add(event(PassKind::kForward, at.stage - 1));
        break;
      case PassKind::kBackward:
      case PassKind::kBackwardInput:
        needs.add(event(PassKind::kForward, at.stage));
        if (at.stage + 1 < placement().stages()) {
          needs.add(event(PassKind::kBackwardInput, at.stage + 1));
        }
        break;
      case PassKind::kBackwardWeight: needs.add(event(PassKind::kBackwardInput, at.stage)); break;
    }
    return needs;
  }

  // When all that an action needs has arrived; kNever, and what the rank waits for, where some has
  // not.
  Ticks arrival(std::int32_t rank, const Action& action) {
    Ticks latest = 0;
    for (const Pass& pass : action.passes()) {
      const Needs needs = needs_of(rank, pass);
      for (std::size_t i = 0; i < needs.count; ++i) {
        const Event& event = needs.events[i];
        const Ticks end = end_of(event);
        if (end == kNever) {
          rank_of(rank).waits_for = event;
          return kNever;
        }
        latest = std::max(latest, end + (holder_rank(event) == rank ? 0 : transfer_));
      }
    }
    return latest;
  }

  void run(std::int32_t rank) {
    Rank& state = rank_of(rank);
    for (; state.next < program(rank).size(); ++state.next) {
      const Action& action = program(rank)[state.next];
      const Ticks arrived = arrival(rank, action);
      if (arrived == kNever) return;
      const Ticks start = std::max(state.free, arrived);
      const Ticks duration = time_(rank, action);
      state.spans.push_back({start, start + duration});
      state.free = start + duration;
      state.busy += duration;
      for (const Pass& pass : action.passes()) announce(rank, pass, state.free);
    }
  }

  // One rank at most waits for an event besides its own: the next one on its way.
  void announce(std::int32_t rank, const Pass& pass, Ticks end) {
    if (pass.kind == PassKind::kBackwardWeight) return;
    const Placement::Chunk at = placement().chunk(rank, pass.chunk);
    const bool forward = pass.kind == PassKind::kForward;
    const Event event{forward ? PassKind::kForward : PassKind::kBackwardInput, at.route, at.stage,
                      pass.micro_batch};
    end_of(event) = end;
    const std::int32_t next = forward ? at.stage + 1 : at.stage - 1;
    if (next < 0 || next == placement().stages()) return;
    const std::int32_t other = placement().holder(at.route, next).rank;
    if (other == rank) return;
    const Rank& waiting = rank_of(other);
    if (waiting.next < program(other).size() && waiting.waits_for == event) ready_.push_back(other);
  }

  Result<Timing> finish() {
    Timing out;
    for (std::int32_t r = 0; r < placement().ranks(); ++r) {
      if (rank_of(r).next < program(r).size()) return explain(r);
      out.makespan = std::max(out.makespan, rank_of(r).free);
    }
    for (std::int32_t r = 0; r < placement().ranks(); ++r) {
      Rank& state = rank_of(r);
      out.ranks.push_back(
          {std::move(state.spans), out.makespan - state.busy, live_activations_max(program(r))});
    }
    return out;
  }

  std::string text(const Event& event) const {
    const Placement::Holder holder = placement().holder(event.route, event.stage);
    return to_string(Pass{event.kind, holder.chunk, event.micro_batch}, placement(), holder.rank);
  }

  // Where the awaited event is in its rank's program; its size where it is not.
  std::size_t position(const Event& event) const {
    const Placement::Holder holder = placement().holder(event.route, event.stage);
    const Program& other = program(holder.rank);
    const auto is_it = [&](const Pass& pass) {
      const bool forward = pass.kind == PassKind::kForward;
      return pass.kind != PassKind::kBackwardWeight && pass.chunk == holder.chunk &&
             pass.micro_batch == event.micro_batch && forward == (event.kind == PassKind::kForward);
    };
    const auto found = std::find_if(other.begin(), other.end(), [&](const Action& action) {
      return std::any_of(action.passes().begin(), action.passes().end(), is_it);
    });
    return static_cast<std::size_t>(found - other.begin());
  }

  // From a rank that cannot go on, along what is waited for, to a pass that never comes or to the
  // circle.
  tl::unexpected<Error> explain(std::int32_t rank) const {
    std::vector<std::int32_t> path;
    for (;;) {
      path.push_back(rank);
      const Event& event = rank_of(rank).waits_for;
      const std::int32_t next = holder_rank(event);
      if (position(event) == program(next).size()) {
        return invalid_input("rank {} cannot go on: {}, which rank {} never does", rank,
                             wait_text(rank), next);
      }
      const auto seen = std::find(path.begin(), path.end(), next);
      if (seen != path.end()) {
        path.erase(path.begin(), seen);
        break;
      }
      rank = next;
    }
    std::string circle;
    for (const std::int32_t r : path) {
      const std::int32_t next = holder_rank(rank_of(r).waits_for);
      const bool in_pair = position(rank_of(r).waits_for) == rank_of(r).next;
      circle += fmt::format("{}rank {}: {} of {}", circle.empty() ? "" : "; ", r, wait_text(r),
                            next != r ? fmt::format("rank {}", next)
                            : in_pair ? "the same pair"
                                      : "its own, later in its program");
    }
    return invalid_input("the ranks wait for each other in a circle: {}", circle);
  }
  std::string wait_text(std::int32_t rank) const {
    const Rank& state = rank_of(rank);
    return fmt::format("{} waits for {}", to_string(program(rank)[state.next], placement(), rank),
                       text(state.waits_for));
  }

  const Schedule& schedule_;
  const ActionTime& time_;
  Ticks transfer_;
  std::vector<Rank> ranks_;
  std::vector<std::int64_t> first_;         // by route, into ends_
  std::array<std::vector<Ticks>, 2> ends_;  // of F, and of B or I; by route, stage, micro-batch
  std::vector<std::int32_t> ready_;
};

}  // namespace

Result<Timing> time_schedule(const Schedule& schedule, const PassTimes& times) {
  return time_schedule(
      schedule, [&times](std::int32_t, const Action& action) { return times.of(action); },
      times.transfer);
}

Result<Timing> time_schedule(const Schedule& schedule, const ActionTime& time, Ticks transfer) {
  return Player(schedule, time, transfer).play();
}

}  // namespace sluice::graph
