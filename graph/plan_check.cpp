// The abstract run of a plan.
#include "graph/plan_check.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace sluice::graph {
namespace {

// A channel as counters: messages that wait at the receiver, by micro-batch, and the window.
struct Window {
  std::int32_t credits = 0;
  std::set<std::int32_t> waiting;
};

enum class Phase { kReceive, kSend, kEnd };

struct Running {
  Pass pass;
  Phase phase = Phase::kReceive;
};

struct StageState {
  std::size_t next = 0;  // in the program
  std::vector<Running> running;
  std::set<std::int32_t> forward_done;
  std::int32_t activations = 0;  // credits left
};

class Player {
 public:
  explicit Player(const Plan& plan) : plan_(plan), stages_(plan.stages.size()) {
    for (const ChannelPlan& c : plan.channels) windows_[c.actor].credits = c.credits;
    for (std::size_t s = 0; s < stages_.size(); ++s)
      stages_[s].activations = plan.stages[s].activation_credits;
  }

  Status play() {
    for (;;) {
      bool moved = feed();
      for (std::size_t s = 0; s < stages_.size(); ++s) {
        SLUICE_TRY(check_order(s));
        moved = launch(s) || moved;
        moved = advance(s) || moved;
      }
      if (moved) continue;
      return finished() ? Status{} : stuck();
    }
  }

 private:
  Window* window(ActorIndex from, ActorIndex to, ChannelRole role) {
    const ChannelPlan* channel = plan_.channel(from, to, role);
    return channel == nullptr ? nullptr : &windows_.at(channel->actor);
  }

  static bool push(Window& window, std::int32_t micro_batch) {
    if (static_cast<std::int32_t>(window.waiting.size()) >= window.credits) return false;
    window.waiting.insert(micro_batch);
    return true;
  }

  // The source: tokens of m, then targets of m, then m + 1.
  bool feed() {
    const ActorIndex first = plan_.stages.front().actor;
    const ActorIndex last = plan_.stages.back().actor;
    if (fed_ / 2 >= plan_.options.micro_batches) return false;
    Window* to = fed_ % 2 == 0 ? window(plan_.source, first, ChannelRole::kTokens)
                               : window(plan_.source, last, ChannelRole::kTargets);
    if (!push(*to, fed_ / 2)) return false;
    ++fed_;
    return true;
  }

  Status check_order(std::size_t s) const {
    std::set<std::int32_t> begun;
    for (const Action& action : plan_.stages[s].program) {
      const Pass& pass = action.passes().front();
      if (pass.kind == PassKind::kForward) {
        begun.insert(pass.micro_batch);
      } else if (!begun.contains(pass.micro_batch)) {
        return invalid_input(
            "stage {}: program does the backward pass of micro-batch {} before its forward pass", s,
            pass.micro_batch);
      }
    }
    return {};
  }

  bool launch(std::size_t s) {
    StageState& state = stages_[s];
    const Program& program = plan_.stages[s].program;
    const bool room = static_cast<std::int32_t>(state.running.size()) < 1 + plan_.options.run_ahead;
    if (state.next >= program.size() || !room) return false;
    const Pass pass = program[state.next].passes().front();
    if (pass.kind == PassKind::kForward && plan_.options.training) {
      if (state.activations == 0) return false;
      --state.activations;
    }
    state.running.push_back({pass, Phase::kReceive});
    ++state.next;
    return true;
  }

  bool advance(std::size_t s) {
    bool moved = false;
    for (Running& running : stages_[s].running) {
      const bool forward = running.pass.kind == PassKind::kForward;
      if (running.phase == Phase::kReceive &&
          (forward ? receive_forward(s, running.pass) : receive_backward(s, running.pass))) {
        running.phase = Phase::kSend;
        moved = true;
      }
      if (running.phase == Phase::kSend &&
          (forward ? send_forward(s, running.pass) : send_backward(s, running.pass))) {
        running.phase = Phase::kEnd;
        end(s, running.pass);
        moved = true;
      }
    }
    std::erase_if(stages_[s].running, [](const Running& r) { return r.phase == Phase::kEnd; });
    return moved;
  }

  void end(std::size_t s, Pass pass) {
    if (pass.kind == PassKind::kForward) {
      stages_[s].forward_done.insert(pass.micro_batch);
    } else {
      ++stages_[s].activations;
    }
  }

  // Takes micro-batch m from a channel; true where there is no such channel.
  bool take(ActorIndex from, ActorIndex to, ChannelRole role, std::int32_t m) {
    Window* w = window(from, to, role);
    return w == nullptr || w->waiting.erase(m) == 1;
  }
  bool there(ActorIndex from, ActorIndex to, ChannelRole role, std::int32_t m) {
    Window* w = window(from, to, role);
    return w == nullptr || w->waiting.contains(m);
  }

  bool receive_forward(std::size_t s, Pass pass) {
    const StagePlan& stage = plan_.stages[s];
    const ActorIndex from = stage.is_first ? plan_.source : plan_.stages[s - 1].actor;
    return take(from, stage.actor, stage.is_first ? ChannelRole::kTokens : ChannelRole::kActivation,
                pass.micro_batch);
  }

  bool send_forward(std::size_t s, Pass pass) {
    const StagePlan& stage = plan_.stages[s];
    const std::int32_t m = pass.micro_batch;
    const ActorIndex first = plan_.stages.front().actor;
    if (stage.is_last) {
      const bool ready = there(plan_.source, stage.actor, ChannelRole::kTargets, m) &&
                         there(first, stage.actor, ChannelRole::kEmbedding, m);
      return ready && take(plan_.source, stage.actor, ChannelRole::kTargets, m) &&
             take(first, stage.actor, ChannelRole::kEmbedding, m);
    }
    if (stage.is_first && !push_once(first, plan_.stages.back().actor, ChannelRole::kEmbedding, m))
      return false;
    return push(*window(stage.actor, plan_.stages[s + 1].actor, ChannelRole::kActivation), m);
  }

  // Sends m unless it has been sent; true where there is no such channel.
  bool push_once(ActorIndex from, ActorIndex to, ChannelRole role, std::int32_t m) {
    const ChannelPlan* channel = plan_.channel(from, to, role);
    if (channel == nullptr || sent_[channel->actor].contains(m)) return true;
    if (!push(windows_.at(channel->actor), m)) return false;
    sent_[channel->actor].insert(m);
    return true;
  }

  bool receive_backward(std::size_t s, Pass pass) {
    const StagePlan& stage = plan_.stages[s];
    if (!stages_[s].forward_done.contains(pass.micro_batch)) return false;
    if (!stage.is_last) {
      return take(plan_.stages[s + 1].actor, stage.actor, ChannelRole::kGradient, pass.micro_batch);
    }
    return push_once(stage.actor, plan_.stages.front().actor, ChannelRole::kEmbeddingGradient,
                     pass.micro_batch);
  }

  bool send_backward(std::size_t s, Pass pass) {
    const StagePlan& stage = plan_.stages[s];
    if (stage.is_first) {
      return take(plan_.stages.back().actor, stage.actor, ChannelRole::kEmbeddingGradient,
                  pass.micro_batch);
    }
    return push(*window(stage.actor, plan_.stages[s - 1].actor, ChannelRole::kGradient),
                pass.micro_batch);
  }

  bool finished() const {
    return std::all_of(stages_.begin(), stages_.end(), [&](const StageState& state) {
      return state.running.empty() &&
             state.next ==
                 plan_.stages[static_cast<std::size_t>(&state - stages_.data())].program.size();
    });
  }

  Status stuck() const {
    std::string where;
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      const StageState& state = stages_[s];
      for (const Running& r : state.running) {
        where +=
            fmt::format("; stage {} {} {}{}", s,
                        r.phase == Phase::kReceive ? "waits to receive for" : "waits to send after",
                        r.pass.kind == PassKind::kForward ? 'F' : 'B', r.pass.micro_batch);
      }
      if (state.running.empty() && state.next < plan_.stages[s].program.size()) {
        where += fmt::format("; stage {} has no activation credit", s);
      }
    }
    return invalid_input("the plan deadlocks under its credits{}", where);
  }

  const Plan& plan_;
  std::vector<StageState> stages_;
  std::map<ActorIndex, Window> windows_;
  std::map<ActorIndex, std::set<std::int32_t>> sent_;
  std::int32_t fed_ = 0;
};

}  // namespace

Status check_plan(const Plan& plan) {
  const auto count = static_cast<ActorIndex>(plan.actors.size());
  for (const ChannelPlan& c : plan.channels) {
    if (c.from < 0 || c.from >= count || c.to < 0 || c.to >= count || c.credits < 1) {
      return invalid_input("channel {}: from {} to {} with {} credits", c.actor, c.from, c.to,
                           c.credits);
    }
  }
  return Player(plan).play();
}

}  // namespace sluice::graph
