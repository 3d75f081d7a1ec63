// The abstract run of a plan.
//
// # Why does one run stand for all?
// Nothing that can happen here is ever taken back by something else that happens first. A message
// through a channel between chunks comes from one pass after the other, in the order of the program
// (Stage::send_in_turn), so a free credit has one taker; it is received by key, so it has one taker
// too; places in the window and activation buffers go to the next action of the program; weight
// gradients are added in the order of micro-batches. So two steps that are both possible can be
// done in either order with the same outcome, and all runs that go on as long as they can do the
// same steps: where this one ends, every one ends, whatever the timing, and where it stands still,
// every one stands still. The answer is exact, both ways; tests/runtime/engine/plan_check_test.cpp
// tries it against the real actors.
//
// # Why are expert groups left out?
// They take what arrives at once and answer it; a stage that has dispatched waits for nothing but
// the answer. Whatever their credits, nobody waits for them forever.
#include "graph/plan_check.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace sluice::graph {
namespace {

struct Window {
  const ChannelPlan* channel = nullptr;
  std::int32_t credits = 0;
  std::set<std::int32_t> waiting{};  // micro-batches whose messages are at the receiver
  std::int32_t sent = 0;
};

enum class OpKind {
  kReceive,
  kSend,
  kForwardDone,  // the own forward pass of the micro-batch, which may be under way
  kInputDone,    // the own input gradient, likewise
  kHeadTurn,     // the head's weight gradients of earlier micro-batches
};

// What a pass waits for or does to a channel, in order.
struct Op {
  OpKind kind = OpKind::kReceive;
  Window* window = nullptr;
};

struct Running {
  Pass pass;
  std::size_t action = 0;  // in the program
  std::int32_t turn = 0;   // among the chunk's passes of its direction
  std::vector<Op> ops;
  std::size_t at = 0;
};

struct RankState {
  std::size_t next = 0;  // in the program
  std::vector<Running> running;
  std::map<std::size_t, std::size_t> window;  // passes under way, by action
  std::int32_t buffers = 0;
  struct Chunk {
    std::int32_t forward_turn = 0, backward_turn = 0;
    std::set<std::int32_t> forward_done, input_done;
    // Micro-batches whose weight gradients come next, and those whose turn has not come.
    std::int32_t next_weights = 0, next_head = 0;
    std::set<std::int32_t> weights, heads;
  };
  std::vector<Chunk> chunks;
};

struct Feed {
  std::int32_t route = 0;
  std::vector<std::int32_t> order;  // of its micro-batches
  std::int32_t fed = 0;             // messages: tokens of 0, targets of 0, tokens of 1, ...
};

class Player {
 public:
  Player(const Plan& plan, const Placement& placement, const std::vector<Program>& programs,
         bool keeps)
      : plan_(plan), placement_(placement), programs_(programs), keeps_(keeps) {
    for (const ChannelPlan& c : plan.channels) windows_[c.actor] = {&c, c.credits};
    for (const StagePlan& stage : plan.stages) {
      RankState& rank = ranks_.emplace_back();
      rank.buffers = stage.activation_credits;
      rank.chunks.resize(stage.chunks.size());
    }
    for (std::size_t r = 0; r < placement.routes().size(); ++r) {
      const auto route = static_cast<std::int32_t>(r);
      std::vector<std::int32_t> order(
          static_cast<std::size_t>(placement.routes()[r].micro_batches));
      std::iota(order.begin(), order.end(), 0);
      if (keeps) order = plan.feed_order(route);
      feeds_.push_back({route, std::move(order), 0});
    }
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
    ++window.sent;
    return true;
  }

  bool advance(Feed& feed) {
    bool moved = false;
    while (!is_done(feed) &&
           push(*feed_window(feed), feed.order[static_cast<std::size_t>(feed.fed / 2)])) {
      ++feed.fed;
      moved = true;
    }
    return moved;
  }
  static bool is_done(const Feed& feed) {
    return feed.fed == 2 * static_cast<std::int32_t>(feed.order.size());
  }
  Window* feed_window(const Feed& feed) {
    return source_window(feed.route,
                         feed.fed % 2 == 0 ? ChannelRole::kTokens : ChannelRole::kTargets);
  }

  bool advance(std::int32_t rank) {
    RankState& here = state(rank);
    bool moved = false;
    for (bool step = true; step; moved = moved || step) {
      step = launch(rank);
      for (Running& running : here.running) step = advance(rank, running) || step;
      std::erase_if(here.running, [](const Running& r) { return r.at == r.ops.size(); });
    }
    return moved;
  }

  bool lacks_buffer(std::int32_t rank) const {
    const RankState& here = state(rank);
    const bool at_forward = here.next < program(rank).size() &&
                            program(rank)[here.next].passes().front().kind == PassKind::kForward;
    return at_forward && keeps_ && here.buffers == 0;
  }

  bool launch(std::int32_t rank) {
    RankState& here = state(rank);
    if (here.next == program(rank).size()) return false;
    const Action& action = program(rank)[here.next];
    const PassKind first = action.passes().front().kind;
    const bool in_window = first != PassKind::kBackwardWeight;
    const auto window_max = static_cast<std::size_t>(1 + plan_.options.run_ahead);
    if (in_window && here.window.size() == window_max) return false;
    if (lacks_buffer(rank)) return false;
    if (first == PassKind::kForward && keeps_) --here.buffers;
    if (in_window) here.window[here.next] = action.passes().size();
    for (const Pass& pass : action.passes()) {
      RankState::Chunk& chunk = chunk_of(rank, pass);
      std::int32_t turn = 0;
      if (in_window)
        turn = pass.kind == PassKind::kForward ? chunk.forward_turn++ : chunk.backward_turn++;
      here.running.push_back({pass, here.next, turn, ops_of(rank, pass), 0});
    }
    ++here.next;
    return true;
  }

  RankState::Chunk& chunk_of(std::int32_t rank, const Pass& pass) {
    return state(rank).chunks[static_cast<std::size_t>(pass.chunk)];
  }

  bool advance(std::int32_t rank, Running& running) {
    const std::size_t before = running.at;
    while (running.at < running.ops.size() && is_done(rank, running)) ++running.at;
    if (running.at == before) return false;
    if (running.at == running.ops.size()) end(rank, running);
    return true;
  }

  bool is_done(std::int32_t rank, const Running& running) {
    const Op& op = running.ops[running.at];
    const std::int32_t m = running.pass.micro_batch;
    RankState::Chunk& chunk = chunk_of(rank, running.pass);
    switch (op.kind) {
      case OpKind::kReceive: return op.window->waiting.erase(m) == 1;
      case OpKind::kSend: return op.window->sent == running.turn && push(*op.window, m);
      case OpKind::kForwardDone: return chunk.forward_done.contains(m);
      case OpKind::kInputDone: return chunk.input_done.contains(m);
      case OpKind::kHeadTurn: break;
    }
    if (chunk.next_head != m) return false;
    ++chunk.next_head;
    pass_heads(chunk);
    return true;
  }
  static void pass_heads(RankState::Chunk& chunk) {
    while (chunk.heads.erase(chunk.next_head) == 1) ++chunk.next_head;
  }

  // Weight gradients give the buffer back, in the order of micro-batches.
  void end(std::int32_t rank, const Running& running) {
    RankState& here = state(rank);
    RankState::Chunk& chunk = chunk_of(rank, running.pass);
    const std::int32_t m = running.pass.micro_batch;
    const PassKind kind = running.pass.kind;
    if (kind == PassKind::kForward) chunk.forward_done.insert(m);
    if (kind == PassKind::kBackwardInput) chunk.input_done.insert(m);
    if (kind != PassKind::kBackwardWeight && --here.window.at(running.action) == 0)
      here.window.erase(running.action);
    if (kind != PassKind::kBackward && kind != PassKind::kBackwardWeight) return;
    chunk.heads.insert(m);
    pass_heads(chunk);
    chunk.weights.insert(m);
    for (; chunk.weights.erase(chunk.next_weights) == 1; ++chunk.next_weights) ++here.buffers;
  }

  std::vector<Op> ops_of(std::int32_t rank, const Pass& pass) {
    const ChunkPlan& chunk =
        plan_.stages[static_cast<std::size_t>(rank)].chunks[static_cast<std::size_t>(pass.chunk)];
    if (pass.kind == PassKind::kForward) return forward_ops(chunk);
    if (pass.kind == PassKind::kBackwardWeight) return {{OpKind::kInputDone, nullptr}};
    return backward_ops(chunk, pass.kind);
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

  std::vector<Op> backward_ops(const ChunkPlan& chunk, PassKind kind) {
    std::vector<Op> ops{{OpKind::kForwardDone, nullptr}};
    const bool adds_head = kind == PassKind::kBackward && chunk.weights_in_order;
    if (chunk.is_last && adds_head) ops.push_back({OpKind::kHeadTurn, nullptr});
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
    // The oldest pass that waits for somebody else.
    const RankState& here = state(rank);
    const auto waits = std::find_if(here.running.begin(), here.running.end(), [](const Running& r) {
      const Op& op = r.ops[r.at];
      return op.kind == OpKind::kReceive || (op.kind == OpKind::kSend && op.window->sent == r.turn);
    });
    if (waits == here.running.end()) {
      if (lacks_buffer(rank)) return {"has no activation buffer free", rank, true};
      return {"waits for a pass that comes later in its own program", rank, true};
    }
    const Op& op = waits->ops[waits->at];
    const ChannelPlan& channel = *op.window->channel;
    if (op.kind == OpKind::kSend) {
      const std::int32_t to = rank_of(channel.to);
      return {fmt::format("waits for a credit of {}", name(to)), to};
    }
    const std::int32_t from = rank_of(channel.from);
    return {fmt::format("waits for {} of {}", sent_text(*waits, channel), name(from)), from};
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
    const std::string text = to_string(sent, placement_, holder.rank);
    // Where a rank is a stage, "F7 of rank 1" says it all.
    const bool is_plain =
        placement_.routes().size() == 1 && placement_.stages() == placement_.ranks();
    return is_plain ? text.substr(text.find_first_of("FBIW")) : text;
  }
  Wait source_wait() {
    for (const Feed& feed : feeds_) {
      if (is_done(feed)) continue;
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

// A part of a rank's memory, and what makes it smaller.
struct MemoryPart {
  std::string_view name;
  std::int64_t RankMemory::*bytes;
  std::string_view remedy;
};
constexpr std::string_view kFewerWeights =
    "raise topology.pipeline_parallel_size or topology.expert_parallel_size";
constexpr MemoryPart kMemoryParts[] = {
    {"weights", &RankMemory::weights, kFewerWeights},
    {"master weights", &RankMemory::master, kFewerWeights},
    {"gradients", &RankMemory::gradients,
     "raise topology.pipeline_parallel_size or topology.expert_parallel_size, or lower "
     "train.gradient_shards"},
    {"optimizer state", &RankMemory::optimizer, kFewerWeights},
    {"activations", &RankMemory::activations,
     "lower train.micro_batch_size or train.sequence_length, or use a schedule that keeps fewer "
     "(`sluice schedule` shows peaks)"},
    {"buffers", &RankMemory::buffers,
     "lower train.micro_batch_size, train.sequence_length or schedule.run_ahead"},
    {"copies for checkpoints", &RankMemory::snapshots, kFewerWeights},
};

// The rank that needs most.
Status check_memory(const Plan& plan) {
  const std::int64_t limit = plan.options.memory_bytes_max;
  if (limit == 0) return {};
  const auto worst =
      std::max_element(plan.memory.begin(), plan.memory.end(),
                       [](const auto& a, const auto& b) { return a.total() < b.total(); });
  if (worst == plan.memory.end() || worst->total() <= limit) return {};
  const MemoryPart& largest = *std::max_element(
      std::begin(kMemoryParts), std::end(kMemoryParts),
      [&](const auto& a, const auto& b) { return (*worst).*a.bytes < (*worst).*b.bytes; });
  const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  return invalid_input(
      "rank {} needs {:.1f} MiB of memory, its device has {:.1f} (device.memory_bytes_max = {}): "
      "the "
      "largest part are {}, {:.1f} MiB; {}",
      worst - plan.memory.begin(), mib(worst->total()), mib(limit), limit, largest.name,
      mib((*worst).*largest.bytes), largest.remedy);
}

}  // namespace

Status check_plan(const Plan& plan) {
  SLUICE_TRY(check_channels(plan));
  SLUICE_TRY(check_memory(plan));
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
