// From sizes and options to actors, channels, programs and memory.
#include <algorithm>
#include <bit>
#include <numeric>

#include "graph/plan.hpp"
#include "graph/plan_memory.hpp"
#include "graph/schedule/waiting.hpp"

namespace sluice::graph {
namespace {

class Builder {
 public:
  Builder(const ModelSummary& model, const PlanOptions& options) : model_(model) {
    plan_.options = options;
  }

  Result<Plan> build() {
    SLUICE_TRY(check());
    SLUICE_TRY(choose_programs());
    SLUICE_TRY(choose_shards());
    SLUICE_TRY(choose_layers());
    SLUICE_TRY(count_messages());
    plan_.supervisor = add(ActorKind::kSupervisor, "supervisor", 0);
    plan_.source = add(ActorKind::kSource, "source", 0);
    add_stages();
    plan_.reducer = add(ActorKind::kReducer, "reducer", 0);
    plan_.sink = add(ActorKind::kSink, "sink", plan_.actors[actor_of(0, stages() - 1)].rank);
    plan_.checkpointer = add(ActorKind::kCheckpointer, "checkpointer", 0);
    add_channels();
    plan_.memory = measure_memory(plan_, model_);
    return std::move(plan_);
  }

 private:
  const PlanOptions& options() const { return plan_.options; }
  const Placement& placement() const { return plan_.placement; }
  std::int32_t stages() const { return placement().stages(); }
  std::int32_t routes() const { return static_cast<std::int32_t>(placement().routes().size()); }
  std::int64_t tokens() const {
    return std::int64_t{options().micro_batch_size} * options().sequence_length;
  }
  std::size_t actor_of(std::int32_t route, std::int32_t stage) const {
    const std::int32_t rank = placement().holder(route, stage).rank;
    return static_cast<std::size_t>(plan_.stages[static_cast<std::size_t>(rank)].actor);
  }

  Status check() const {
    const std::int32_t layers = layer_count(model_);
    if (options().pipeline_parallel_size < 1 || options().pipeline_parallel_size > layers) {
      return invalid_input(
          "topology.pipeline_parallel_size = {}: must be between 1 and the model's {} layers",
          options().pipeline_parallel_size, layers);
    }
    if (options().expert_parallel_size < 1 ||
        model_.n_routed_experts % options().expert_parallel_size != 0) {
      return invalid_input(
          "topology.expert_parallel_size = {}: must divide the model's {} routed experts",
          options().expert_parallel_size, model_.n_routed_experts);
    }
    if (options().micro_batches < 1 || options().micro_batch_size < 1 ||
        options().sequence_length < 1) {
      return invalid_input("a step needs at least one micro-batch of one sequence of one token");
    }
    if (options().run_ahead < 0)
      return invalid_input("schedule.run_ahead = {}: must not be negative", options().run_ahead);
    return {};
  }

  // ---- Programs

  Status choose_programs() {
    if (!options().training) {
      schedule_ = forward_schedule(
          Placement::one_way(options().pipeline_parallel_size, 1, options().micro_batches));
    } else {
      SLUICE_ASSIGN(schedule_, choose_schedule());
      SLUICE_TRY(check_schedule(schedule_));
      SLUICE_TRY(check_placement(schedule_));
    }
    plan_.placement = schedule_.placement;
    return {};
  }

  Result<Schedule> choose_schedule() const {
    const std::int32_t ranks = options().pipeline_parallel_size;
    if (!options().schedule_read) {
      auto made = make_schedule(options().schedule,
                                {ranks, options().micro_batches, options().stages_per_rank});
      if (!made) return in_context("schedule.name", std::move(made).error());
      return made;
    }
    const Schedule& read = *options().schedule_read;
    if (read.placement.ranks() != ranks) {
      return invalid_input(
          "{}: a schedule of {} ranks; set topology.pipeline_parallel_size, which "
          "is {}, to as many",
          read.name, read.placement.ranks(), ranks);
    }
    if (read.placement.micro_batches() != options().micro_batches) {
      return invalid_input(
          "{}: a schedule of {} micro-batches, where a step has {}; set "
          "train.global_batch_size to train.micro_batch_size times {}",
          read.name, read.placement.micro_batches(), options().micro_batches,
          read.placement.micro_batches());
    }
    return read;
  }

  // A stage's weights are once on a rank.
  static Status check_placement(const Schedule& schedule) {
    const Placement& placement = schedule.placement;
    for (std::int32_t rank = 0; rank < placement.ranks(); ++rank) {
      std::vector<std::int32_t> held;
      for (const Placement::Chunk& chunk : placement.chunks(rank)) held.push_back(chunk.stage);
      std::sort(held.begin(), held.end());
      const auto twice = std::adjacent_find(held.begin(), held.end());
      if (twice != held.end()) {
        return invalid_input(
            "schedule {}: rank {} holds stage {} for two routes; give one of them "
            "to another rank",
            schedule.name, rank, *twice);
      }
    }
    return {};
  }

  // Every route takes the same number of whole parts, a power of two where there are several: then
  // what a holder sums is a subtree.
  Status choose_shards() {
    std::int32_t& shards = plan_.options.gradient_shards;
    if (!options().training || shards == 0) {
      shards = routes();
    }
    if (shards > options().micro_batches && options().training) {
      return invalid_input("train.gradient_shards = {}: a step has {} micro-batches only", shards,
                           options().micro_batches);
    }
    if (routes() == 1) return {};
    const bool splits = shards % routes() == 0 &&
                        std::has_single_bit(static_cast<std::uint32_t>(shards / routes()));
    if (!splits) {
      return invalid_input(
          "train.gradient_shards = {}: schedule {} sums the gradients of its {} routes apart; use "
          "{} "
          "or {}",
          shards, schedule_.name, routes(), routes(), 2 * routes());
    }
    const Placement even = placement().with_micro_batches(placement().micro_batches());
    if (even == placement()) return {};
    return invalid_input("schedule {}: its routes take different numbers of micro-batches",
                         schedule_.name);
  }

  Status choose_layers() {
    const std::int32_t layers = layer_count(model_);
    const std::vector<std::int32_t>& given = options().layers_per_stage;
    if (stages() > layers) {
      return invalid_input(
          "schedule {} cuts the model into {} stages, but it has {} layers; lower "
          "topology.pipeline_parallel_size, or use 1f1b",
          schedule_.name, stages(), layers);
    }
    if (given.empty() || !options().training) {
      bounds_ = partition_layers(model_, stages());
      return {};
    }
    const bool has_empty = std::any_of(given.begin(), given.end(), [](auto n) { return n < 1; });
    const std::int64_t sum = std::accumulate(given.begin(), given.end(), std::int64_t{0});
    if (static_cast<std::int32_t>(given.size()) != stages() || has_empty || sum != layers) {
      return invalid_input(
          "topology.layers_per_stage = [{}]: must be {} numbers, one for each stage, at least 1 "
          "and "
          "{} together",
          fmt::join(given, ", "), stages(), layers);
    }
    bounds_.assign(1, 0);
    std::partial_sum(given.begin(), given.end(), std::back_inserter(bounds_));
    return {};
  }

  // Room in channels for training and for evaluation, by route.
  Status count_messages() {
    const auto waves = 4 * stages() * routes();
    SLUICE_ASSIGN(waiting_, count_waiting(forward_schedule(placement().with_micro_batches(waves))));
    if (!options().training) return {};
    SLUICE_ASSIGN(const std::vector<Waiting> training, count_waiting(schedule_));
    const auto raise = [](std::int32_t& here, std::int32_t other) { here = std::max(here, other); };
    for (std::size_t r = 0; r < waiting_.size(); ++r) {
      for (std::size_t s = 0; s < static_cast<std::size_t>(stages()); ++s) {
        raise(waiting_[r].activations[s], training[r].activations[s]);
        raise(waiting_[r].gradients[s], training[r].gradients[s]);
      }
      raise(waiting_[r].first_to_last, training[r].first_to_last);
      raise(waiting_[r].last_to_first_gradients, training[r].last_to_first_gradients);
    }
    return {};
  }

  // ---- Actors

  ActorIndex add(ActorKind kind, std::string name, std::int32_t rank) {
    plan_.actors.push_back({kind, std::move(name), rank});
    return static_cast<ActorIndex>(plan_.actors.size()) - 1;
  }

  void add_stages() {
    for (std::int32_t p = 0; p < options().pipeline_parallel_size; ++p) {
      StagePlan stage;
      stage.pipeline_rank = p;
      stage.program = schedule_.programs[static_cast<std::size_t>(p)];
      for (const Placement::Chunk& chunk : placement().chunks(p)) {
        stage.chunks.push_back(make_chunk(chunk, p, stage));
      }
      const std::vector<std::int64_t> ones(stage.chunks.size(), 1);
      if (options().training) {
        stage.activation_buffers_needed =
            static_cast<std::int32_t>(kept_activations_max(stage.program, ones));
      }
      stage.activation_credits = options().activation_buffers > 0
                                     ? options().activation_buffers
                                     : stage.activation_buffers_needed + options().run_ahead;
      stage.actor =
          add(ActorKind::kStage, fmt::format("stage {}", p), p * options().expert_parallel_size);
      if (has_experts(stage)) add_expert_groups(stage);
      plan_.stages.push_back(std::move(stage));
    }
  }

  ChunkPlan make_chunk(const Placement::Chunk& at, std::int32_t rank,
                       const StagePlan& stage) const {
    ChunkPlan chunk;
    chunk.route = at.route;
    chunk.stage = at.stage;
    chunk.micro_batch_first = placement().micro_batch_first(at.route);
    chunk.micro_batches = placement().routes()[static_cast<std::size_t>(at.route)].micro_batches;
    chunk.layer_first = bounds_[static_cast<std::size_t>(at.stage)];
    chunk.layer_last = bounds_[static_cast<std::size_t>(at.stage) + 1];
    chunk.is_first = at.stage == 0;
    chunk.is_last = at.stage + 1 == stages();
    chunk.weights_in_order =
        weights_in_order(stage.program, static_cast<std::int32_t>(stage.chunks.size()));
    for (std::int32_t r = 0; r < routes(); ++r) {
      const std::int32_t other = placement().holder(r, at.stage).rank;
      if (other != rank) chunk.other_holders.push_back(other);
    }
    return chunk;
  }

  bool has_experts(const ChunkPlan& chunk) const {
    bool found = chunk.is_last && model_.mtp_depth > 0;
    for (std::int32_t l = chunk.layer_first; l < chunk.layer_last; ++l) {
      found = found || model_.units[static_cast<std::size_t>(l) + 1].is_moe;
    }
    return found;
  }
  bool has_experts(const StagePlan& stage) const {
    return std::any_of(stage.chunks.begin(), stage.chunks.end(),
                       [&](const ChunkPlan& chunk) { return has_experts(chunk); });
  }

  void add_expert_groups(StagePlan& stage) {
    const std::int32_t size = options().expert_parallel_size;
    const auto count = static_cast<std::int32_t>(model_.n_routed_experts) / size;
    for (std::int32_t e = 0; e < size; ++e) {
      ExpertGroupPlan group;
      group.pipeline_rank = stage.pipeline_rank;
      group.expert_rank = e;
      group.expert_first = e * count;
      group.expert_count = count;
      group.actor =
          add(ActorKind::kExpertGroup, fmt::format("experts {}.{}", stage.pipeline_rank, e),
              stage.pipeline_rank * size + e);
      stage.expert_groups.push_back(group.actor);
      plan_.expert_groups.push_back(group);
    }
  }

  // ---- Channels

  ActorIndex connect(ChannelPlan channel, std::string_view suffix = "") {
    const auto name = [&](ActorIndex actor) -> const std::string& {
      return plan_.actors[static_cast<std::size_t>(actor)].name;
    };
    const std::int32_t rank = plan_.actors[static_cast<std::size_t>(channel.to)].rank;
    channel.actor = add(ActorKind::kChannel,
                        fmt::format("channel {} -> {}: {}{}", name(channel.from), name(channel.to),
                                    name_of(channel.role), suffix),
                        rank);
    plan_.channels.push_back(channel);
    return channel.actor;
  }

  // Between chunks of a route. Names tell hops apart where ranks are not stages.
  ActorIndex hop(std::int32_t route, std::int32_t from_stage, std::int32_t to_stage,
                 ChannelRole role, std::int32_t waiting, std::int64_t bytes) {
    const auto from = static_cast<ActorIndex>(actor_of(route, from_stage));
    const auto to = static_cast<ActorIndex>(actor_of(route, to_stage));
    const bool is_plain = routes() == 1 && stages() == placement().ranks();
    // Two buffers let a transfer overlap the work on the one before. Passes that run ahead may take
    // as many as there are of them, and one waits there at most that the oldest pass needs.
    const std::int32_t credits = std::max(2, waiting + options().run_ahead);
    return connect({kNoActor, from, to, role, credits, bytes, route, to_stage},
                   is_plain ? "" : fmt::format(" of stage {}, route {}", to_stage, route));
  }
  ChunkPlan& chunk(std::int32_t route, std::int32_t stage) {
    const Placement::Holder at = placement().holder(route, stage);
    return plan_.stages[static_cast<std::size_t>(at.rank)]
        .chunks[static_cast<std::size_t>(at.chunk)];
  }

  void add_channels() {
    for (std::int32_t r = 0; r < routes(); ++r) {
      add_source_channels(r);
      add_hops(r);
      if (model_.mtp_depth > 0) add_embedding_channels(r);
    }
    // A stage has at most one dispatch under way for each pass in flight, two for a pair.
    const std::int64_t hidden = tokens() * model_.hidden_bytes_per_token;
    for (const StagePlan& stage : plan_.stages) {
      const bool has_pairs = std::any_of(stage.program.begin(), stage.program.end(),
                                         [](const Action& action) { return action.is_pair(); });
      const std::int32_t credits = (has_pairs ? 2 : 1) * (1 + options().run_ahead) + 1;
      for (const ActorIndex group : stage.expert_groups) {
        connect({kNoActor, stage.actor, group, ChannelRole::kDispatch, credits, hidden});
        connect({kNoActor, group, stage.actor, ChannelRole::kCombine, credits, hidden});
      }
    }
    if (options().training && routes() > 1) add_share_channels();
  }

  // Tokens are read ahead; targets wait at the last stage while micro-batches are on their way.
  void add_source_channels(std::int32_t r) {
    const std::int64_t ids = std::int64_t{options().micro_batch_size} *
                             (options().sequence_length + 1 + model_.mtp_depth) * 4;
    const std::int32_t fill =
        waiting_[static_cast<std::size_t>(r)].first_to_last + options().run_ahead + 2;
    const auto first = static_cast<ActorIndex>(actor_of(r, 0));
    const auto last = static_cast<ActorIndex>(actor_of(r, stages() - 1));
    const std::string way = routes() == 1 ? "" : fmt::format(" of route {}", r);
    connect({kNoActor, plan_.source, first, ChannelRole::kTokens, 2, ids, r, 0}, way);
    // The same tensor again.
    connect({kNoActor, plan_.source, last, ChannelRole::kTargets, fill, 0, r, stages() - 1}, way);
  }

  void add_hops(std::int32_t r) {
    const Waiting& waiting = waiting_[static_cast<std::size_t>(r)];
    const std::int64_t hidden = tokens() * model_.hidden_bytes_per_token;
    for (std::int32_t s = 0; s + 1 < stages(); ++s) {
      const auto here = static_cast<std::size_t>(s);
      chunk(r, s).to_next =
          hop(r, s, s + 1, ChannelRole::kActivation, waiting.activations[here + 1], hidden);
      if (!options().training) continue;
      chunk(r, s + 1).to_previous =
          hop(r, s + 1, s, ChannelRole::kGradient, waiting.gradients[here], hidden);
    }
  }

  // Rows that multi-token prediction reads are on the last stage's rank, or come from the first.
  void add_embedding_channels(std::int32_t r) {
    const Waiting& waiting = waiting_[static_cast<std::size_t>(r)];
    const std::int64_t bytes = tokens() * model_.hidden_bytes_per_token * model_.mtp_depth;
    const std::int32_t last = stages() - 1;
    const auto& chunks = placement().chunks(placement().holder(r, last).rank);
    const bool has_embedding =
        std::any_of(chunks.begin(), chunks.end(), [](const auto& c) { return c.stage == 0; });
    if (!has_embedding) {
      chunk(r, 0).rows_to_last =
          hop(r, 0, last, ChannelRole::kEmbedding, waiting.first_to_last, bytes);
    }
    if (!options().training) return;
    chunk(r, last).rows_gradient =
        hop(r, last, 0, ChannelRole::kEmbeddingGradient, waiting.last_to_first_gradients, bytes);
  }

  // Holders of the same weights send each other the sums of their micro-batches, layer by layer.
  void add_share_channels() {
    std::int64_t parameters = 0, expert_parameters = 0;
    for (const UnitSummary& unit : model_.units) {
      parameters = std::max(parameters, unit.parameters);
      expert_parameters = std::max(expert_parameters, unit.expert_parameters);
    }
    const std::int64_t experts = model_.n_routed_experts / options().expert_parallel_size;
    const auto bytes = [&](std::int64_t count) {
      return static_cast<std::int64_t>(static_cast<double>(count) * model_.gradient_bytes);
    };
    for (const StagePlan& stage : plan_.stages) {
      for (const std::int32_t other : other_holders(stage)) {
        const StagePlan& peer = plan_.stages[static_cast<std::size_t>(other)];
        connect(
            {kNoActor, stage.actor, peer.actor, ChannelRole::kGradientShare, 1, bytes(parameters)});
        for (std::size_t e = 0; e < std::min(stage.expert_groups.size(), peer.expert_groups.size());
             ++e) {
          connect({kNoActor, stage.expert_groups[e], peer.expert_groups[e],
                   ChannelRole::kGradientShare, 1, bytes(expert_parameters * experts)});
        }
      }
    }
  }
  static std::vector<std::int32_t> other_holders(const StagePlan& stage) {
    std::vector<std::int32_t> out;
    for (const ChunkPlan& chunk : stage.chunks)
      out.insert(out.end(), chunk.other_holders.begin(), chunk.other_holders.end());
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  const ModelSummary& model_;
  Plan plan_;
  Schedule schedule_;
  std::vector<std::int32_t> bounds_;  // first layer of each stage, then the number of layers
  std::vector<Waiting> waiting_;      // by route
};

}  // namespace

Result<Plan> make_plan(const ModelSummary& model, const PlanOptions& options) {
  return Builder(model, options).build();
}

}  // namespace sluice::graph
