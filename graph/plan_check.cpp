// The abstract run of a plan.
//
// # Why one action at a time?
// In the live run up to 1 + run_ahead actions of a rank are under way, in orders that depend on
// timing. Say that the run below ends, and that the live one stands still. Of the passes that the
// live run has not finished take the one, X, that ended first below. All before it in its rank's
// program are finished, so it has begun: the window always has room for the oldest action, and
// activation buffers are taken in program order. What it receives was sent by passes that ended
// earlier. What it sends finds room: the messages that wait there are either ones that waited there
// below too, fewer than the credits used here, or of actions that ran ahead of X, at most
// run_ahead, and as many credits are left out here. So X goes on, and nothing stands still. Weight
// gradients wait for those of earlier micro-batches and for nothing else, and hold no place in the
// window; expert groups answer what they get. The player leaves both out but for buffers.
#include "graph/plan_check.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace sluice::graph {
namespace {

struct Window {
  const ChannelPlan* channel = nullptr;
  std::int32_t credits = 0;
  std::set<std::int32_t> waiting;  // micro-batches whose messages are at the receiver
};

enum class OpKind { kReceive, kSend };

// What a pass does to a channel, in order.
struct Op {
  OpKind kind = OpKind::kReceive;
  Window* window = nullptr;
};

struct Running {
  Pass pass;
  std::vector<Op> ops;
  std::size_t at = 0;
};

struct RankState {
  std::size_t next = 0;  // in the program
  std::vector<Running> running;
  std::int32_t buffers = 0;
  struct Chunk {
    std::int32_t next_weights = 0;
    std::set<std::int32_t> weights;  // whose turn has not come
  };
  std::vector<Chunk> chunks;
};

struct Feed {
  std::int32_t route = 0;
  std::int32_t fed = 0;  // messages: tokens of 0, targets of 0, tokens of 1, ...
};

class Player {
 public:
  Player(const Plan& plan, const Placement& placement, const std::vector<Program>& programs,
         bool keeps)
      : plan_(plan), placement_(placement), programs_(programs), keeps_(keeps) {
    for (const ChannelPlan& c : plan.channels) {
      const bool is_fed = c.from == plan.source;
      windows_[c.actor] = {&c, is_fed ? c.credits : c.credits - plan.options.run_ahead, {}};
    }
    for (const StagePlan& stage : plan.stages) {
      ranks_.push_back({0, {}, stage.activation_credits, {}});
      ranks_.back().chunks.resize(stage.chunks.size());
    }
    for (std::size_t r = 0; r < placement.routes().size(); ++r)
      feeds_.push_back({static_cast<std::int32_t>(r), 0});
  }

  Status play() {
    for (;;) {
      bool moved = false;
      for (Feed& feed : feeds_) moved = advance(feed) || moved;
      for (std::int32_t r = 0; r < placement_.ranks(); ++r) moved = advance(r) || moved;
      if (moved) continue;
      for (std::int32_t r = 0; r < placement_.ranks(); ++r) {
        if (!is_done(r)) return stuck(r);
      }
      return {};
    }
  }

 private:
  const Program& program(std::int32_t rank) const {
    return programs_[static_cast<std::size_t>(rank)];
  }
  RankState& state(std::int32_t rank) { return ranks_[static_cast<std::size_t>(rank)]; }
  const RankState& state(std::int32_t rank) const { return ranks_[static_cast<std::size_t>(rank)]; }
  bool is_done(std::int32_t rank) const {
    return state(rank).running.empty() && state(rank).next == program(rank).size();
  }
  Window* source_window(std::int32_t route, ChannelRole role) {
    return &windows_.at(plan_.source_channel(route, role)->actor);
  }

  static bool push(Window& window, std::int32_t micro_batch) {
    if (static_cast<std::int32_t>(window.waiting.size()) >= window.credits) return false;
    window.waiting.insert(micro_batch);
    return true;
  }

  bool advance(Feed& feed) {
    const Route& route = placement_.routes()[static_cast<std::size_t>(feed.route)];
    bool moved = false;
    while (feed.fed < 2 * route.micro_batches && push(*feed_window(feed), feed.fed / 2)) {
      ++feed.fed;
      moved = true;
    }
    return moved;
  }
  Window* feed_window(const Feed& feed) {
    return source_window(feed.route,
                         feed.fed % 2 == 0 ? ChannelRole::kTokens : ChannelRole::kTargets);
  }

  bool advance(std::int32_t rank) {
    RankState& here = state(rank);
    bool moved = false;
    for (;;) {
      if (here.running.empty() && !launch(rank)) return moved;
      bool step = false;
      for (Running& running : here.running) step = advance(rank, running) || step;
      std::erase_if(here.running, [](const Running& r) { return r.at == r.ops.size(); });
      if (!step && !here.running.empty()) return moved;
      moved = true;
    }
  }

  bool launch(std::int32_t rank) {
    RankState& here = state(rank);
    if (here.next == program(rank).size()) return false;
    const Action& action = program(rank)[here.next];
    const bool has_forward = action.passes().front().kind == PassKind::kForward;
    if (has_forward && keeps_) {
      if (here.buffers == 0) return false;
      --here.buffers;
    }
    ++here.next;
    for (const Pass& pass : action.passes()) {
      Running running{pass, ops_of(rank, pass), 0};
      if (running.ops.empty()) {
        end(rank, pass);
      } else {
        here.running.push_back(std::move(running));
      }
    }
    return true;
  }

  bool advance(std::int32_t rank, Running& running) {
    bool moved = false;
    for (; running.at < running.ops.size(); ++running.at) {
      const Op& op = running.ops[running.at];
      const std::int32_t m = running.pass.micro_batch;
      const bool done =
          op.kind == OpKind::kReceive ? op.window->waiting.erase(m) == 1 : push(*op.window, m);
      if (!done) return moved;
      moved = true;
    }
    end(rank, running.pass);
    return true;
  }

  // Weight gradients give the buffer back, in the order of micro-batches.
  void end(std::int32_t rank, const Pass& pass) {
    if (pass.kind != PassKind::kBackward && pass.kind != PassKind::kBackwardWeight) return;
    RankState& here = state(rank);
    RankState::Chunk& chunk = here.chunks[static_cast<std::size_t>(pass.chunk)];
    chunk.weights.insert(pass.micro_batch);
    for (; chunk.weights.erase(chunk.next_weights) == 1; ++chunk.next_weights) ++here.buffers;
  }

  std::vector<Op> ops_of(std::int32_t rank, const Pass& pass) {
    const ChunkPlan& chunk =
        plan_.stages[static_cast<std::size_t>(rank)].chunks[static_cast<std::size_t>(pass.chunk)];
    if (pass.kind == PassKind::kForward) return forward_ops(chunk);
    if (pass.kind == PassKind::kBackwardWeight) return {};
    return backward_ops(chunk);
  }
  static constexpr OpKind kReceive = OpKind::kReceive;
  static constexpr OpKind kSend = OpKind::kSend;

  static void add(std::vector<Op>& ops, OpKind kind, Window* window) {
    if (window != nullptr) ops.push_back({kind, window});
  }
  Window* window(ActorIndex channel) {
    return channel == kNoActor ? nullptr : &windows_.at(channel);
  }

  std::vector<Op> forward_ops(const ChunkPlan& chunk) {
    std::vector<Op> ops;
    add(ops, kReceive,
        chunk.is_first ? source_window(chunk.route, ChannelRole::kTokens)
                       : window(plan_.chunk(chunk.route, chunk.stage - 1).to_next));
    add(ops, kSend, window(chunk.rows_to_last));
    add(ops, kSend, window(chunk.to_next));
    if (chunk.is_last) {
      add(ops, kReceive, source_window(chunk.route, ChannelRole::kTargets));
      add(ops, kReceive, window(plan_.chunk(chunk.route, 0).rows_to_last));
    }
    return ops;
  }

  std::vector<Op> backward_ops(const ChunkPlan& chunk) {
    std::vector<Op> ops;
    if (!chunk.is_last)
      add(ops, kReceive, window(plan_.chunk(chunk.route, chunk.stage + 1).to_previous));
    add(ops, kSend, window(chunk.rows_gradient));
    add(ops, kSend, window(chunk.to_previous));
    if (chunk.is_first) {
      const std::int32_t last = placement_.stages() - 1;
      add(ops, kReceive, window(plan_.chunk(chunk.route, last).rows_gradient));
    }
    return ops;
  }

  // ---- Who waits for whom

  static constexpr std::int32_t kSource = -1;  // in the place of a rank

  std::int32_t rank_of(ActorIndex actor) const {
    for (const StagePlan& stage : plan_.stages) {
      if (stage.actor == actor) return stage.pipeline_rank;
    }
    return kSource;
  }
  static std::string name(std::int32_t rank) {
    return rank == kSource ? std::string("the source") : fmt::format("rank {}", rank);
  }

  struct Wait {
    std::string what;
    std::int32_t whom = kSource;
    bool is_end = false;  // nobody else is to blame
  };
  Wait wait_of(std::int32_t rank) {
    if (rank == kSource) return source_wait();
    const RankState& here = state(rank);
    if (here.running.empty()) return {"has no activation buffer free", rank, true};
    const Running& running = here.running.front();
    const Op& op = running.ops[running.at];
    const ChannelPlan& channel = *op.window->channel;
    if (op.kind == OpKind::kSend) {
      const std::int32_t to = rank_of(channel.to);
      return {fmt::format("waits for a credit of {}", name(to)), to};
    }
    const std::int32_t from = rank_of(channel.from);
    return {fmt::format("waits for {} of {}", sent_text(running, channel), name(from)), from};
  }
  // The pass, or the tokens, whose message is missing.
  std::string sent_text(const Running& running, const ChannelPlan& channel) const {
    if (channel.from == plan_.source)
      return fmt::format("{} of micro-batch {}", name_of(channel.role),
                         placement_.micro_batch_first(channel.route) + running.pass.micro_batch);
    const bool forward = running.pass.kind == PassKind::kForward;
    std::int32_t stage = 0;  // that sends
    switch (channel.role) {
      case ChannelRole::kActivation: stage = channel.stage - 1; break;
      case ChannelRole::kGradient: stage = channel.stage + 1; break;
      case ChannelRole::kEmbeddingGradient: stage = placement_.stages() - 1; break;
      default: break;
    }
    const Placement::Holder holder = placement_.holder(channel.route, stage);
    const Pass sent{forward ? PassKind::kForward : PassKind::kBackward, holder.chunk,
                    running.pass.micro_batch};
    return to_string(sent, placement_, holder.rank);
  }
  Wait source_wait() {
    for (const Feed& feed : feeds_) {
      const Route& route = placement_.routes()[static_cast<std::size_t>(feed.route)];
      if (feed.fed >= 2 * route.micro_batches) continue;
      const std::int32_t to = rank_of(feed_window(feed)->channel->to);
      return {fmt::format("waits for a credit of {}", name(to)), to};
    }
    return {"has nothing left to send", kSource, true};
  }

  tl::unexpected<Error> stuck(std::int32_t rank) {
    std::set<std::int32_t> seen;
    std::string chain = name(rank);
    for (std::int32_t at = rank; seen.insert(at).second;) {
      const Wait wait = wait_of(at);
      chain += fmt::format("{}{}", seen.size() == 1 ? " " : ", which ", wait.what);
      if (wait.is_end) break;
      at = wait.whom;
    }
    return invalid_input("the plan would stand still under its credits: {}", chain);
  }

  const Plan& plan_;
  const Placement& placement_;
  const std::vector<Program>& programs_;
  bool keeps_;  // activations, for a backward pass
  std::map<ActorIndex, Window> windows_;
  std::vector<RankState> ranks_;
  std::vector<Feed> feeds_;
};

Status check_channels(const Plan& plan) {
  const auto count = static_cast<ActorIndex>(plan.actors.size());
  for (const ChannelPlan& c : plan.channels) {
    if (c.from < 0 || c.from >= count || c.to < 0 || c.to >= count || c.credits < 1) {
      return invalid_input("channel {}: from {} to {} with {} credits", c.actor, c.from, c.to,
                           c.credits);
    }
  }
  return {};
}

Status check_buffers(const Plan& plan) {
  for (const StagePlan& stage : plan.stages) {
    if (stage.activation_credits >= stage.activation_buffers_needed) continue;
    const Route& route = plan.placement.routes().front();
    const auto least = std::min<std::size_t>(route.ranks.size(),
                                             static_cast<std::size_t>(plan.options.micro_batches));
    const std::string other = stage.activation_credits >= static_cast<std::int32_t>(least) &&
                                      plan.options.schedule != "1f1b"
                                  ? fmt::format(", or use 1f1b, which needs {}", least)
                                  : std::string();
    return invalid_input(
        "stage {} needs {} activation buffers, has {}: raise topology.activation_buffers to {}{}",
        stage.pipeline_rank, stage.activation_buffers_needed, stage.activation_credits,
        stage.activation_buffers_needed, other);
  }
  return {};
}

}  // namespace

Status check_plan(const Plan& plan) {
  SLUICE_TRY(check_channels(plan));
  Schedule training{plan.options.schedule, plan.placement, {}};
  for (const StagePlan& stage : plan.stages) training.programs.push_back(stage.program);
  if (plan.options.training) {
    SLUICE_TRY(check_schedule(training));
    SLUICE_TRY(check_buffers(plan));
    SLUICE_TRY(Player(plan, plan.placement, training.programs, true).play());
  }
  const auto waves =
      static_cast<std::int32_t>(3 * plan.placement.routes().size()) * (plan.placement.stages() + 1);
  const Schedule forward = forward_schedule(plan.placement.with_micro_batches(waves));
  return Player(plan, forward.placement, forward.programs, false).play();
}

}  // namespace sluice::graph
