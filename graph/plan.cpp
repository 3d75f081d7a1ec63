// What a plan is called, and how it looks.
#include "graph/plan.hpp"

#include <array>

#include "kernels/base/check.hpp"

namespace sluice::graph {
namespace {

constexpr std::array<std::string_view, 8> kActorKindNames{
    "supervisor", "source", "stage", "experts", "channel", "reducer", "sink", "checkpointer"};
constexpr std::array<std::string_view, 9> kChannelRoleNames{
    "tokens",   "targets", "activation",    "gradient", "embedding", "embedding_gradient",
    "dispatch", "combine", "gradient_share"};

std::string mib(std::int64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

std::string_view name_of(ActorKind kind) { return kActorKindNames[static_cast<std::size_t>(kind)]; }
std::string_view name_of(ChannelRole role) {
  return kChannelRoleNames[static_cast<std::size_t>(role)];
}

const ChannelPlan* Plan::channel(ActorIndex from, ActorIndex to, ChannelRole role) const {
  for (const ChannelPlan& channel : channels) {
    if (channel.from == from && channel.to == to && channel.role == role) return &channel;
  }
  return nullptr;
}

const ChannelPlan* Plan::source_channel(std::int32_t route, ChannelRole role) const {
  for (const ChannelPlan& channel : channels) {
    if (channel.from == source && channel.role == role && channel.route == route) return &channel;
  }
  return nullptr;
}

const ChunkPlan& Plan::chunk(std::int32_t route, std::int32_t stage) const {
  const Placement::Holder at = placement.holder(route, stage);
  return stages[static_cast<std::size_t>(at.rank)].chunks[static_cast<std::size_t>(at.chunk)];
}

std::vector<std::int32_t> Plan::feed_order(std::int32_t route) const {
  const Placement::Holder first = placement.holder(route, 0);
  std::vector<std::int32_t> order;
  for (const Action& action : stages[static_cast<std::size_t>(first.rank)].program) {
    for (const Pass& pass : action.passes()) {
      if (pass.kind == PassKind::kForward && pass.chunk == first.chunk)
        order.push_back(pass.micro_batch);
    }
  }
  return order;
}

std::string to_string(const Plan& plan) {
  std::string out = "actors\n";
  for (std::size_t a = 0; a < plan.actors.size(); ++a) {
    const ActorPlan& actor = plan.actors[a];
    if (actor.kind != ActorKind::kChannel)
      out += fmt::format("  {:3} rank {:2}  {}\n", a, actor.rank, actor.name);
  }
  out += "channels\n";
  for (const ChannelPlan& channel : plan.channels) {
    out += fmt::format("  {:3} {:14} -> {:14} {:18} {:2} credits of {}\n", channel.actor,
                       plan.actors[static_cast<std::size_t>(channel.from)].name,
                       plan.actors[static_cast<std::size_t>(channel.to)].name,
                       name_of(channel.role), channel.credits, mib(channel.message_bytes));
  }
  out += "programs\n";
  for (const StagePlan& stage : plan.stages) {
    out += fmt::format("  stage {}: ", stage.pipeline_rank);
    for (const ChunkPlan& chunk : stage.chunks) {
      out +=
          fmt::format("{}{}layers {}..{}{}{}", &chunk == stage.chunks.data() ? "" : "; ",
                      plan.placement.stages() == plan.placement.ranks() && stage.chunks.size() == 1
                          ? ""
                          : fmt::format("model stage {}, ", chunk.stage),
                      chunk.layer_first, chunk.layer_last - 1, chunk.is_first ? ", embedding" : "",
                      chunk.is_last ? ", head" : "");
    }
    out += fmt::format(": {}\n", to_string(stage.program, plan.placement, stage.pipeline_rank));
  }
  out += "memory\n";
  for (std::size_t rank = 0; rank < plan.memory.size(); ++rank) {
    const RankMemory& m = plan.memory[rank];
    out += fmt::format(
        "  rank {}: {} = weights {} + master {} + gradients {} + optimizer {} + activations {} + "
        "buffers {}{}\n",
        rank, mib(m.total()), mib(m.weights), mib(m.master), mib(m.gradients), mib(m.optimizer),
        mib(m.activations), mib(m.buffers),
        m.snapshots > 0 ? fmt::format(" + snapshots {}", mib(m.snapshots)) : "");
  }
  return out;
}

}  // namespace sluice::graph
