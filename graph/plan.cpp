// From sizes and options to actors, channels, programs and memory.
#include "graph/plan.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/base/check.hpp"

namespace sluice::graph {
namespace {

constexpr std::array<std::string_view, 8> kActorKindNames{
    "supervisor", "source", "stage", "experts", "channel", "reducer", "sink", "checkpointer"};
constexpr std::array<std::string_view, 8> kChannelRoleNames{
    "tokens",   "targets", "activation", "gradient", "embedding", "embedding_gradient",
    "dispatch", "combine"};

// Units of a summary in order: embedding, main layers, head, MTP depths.
std::int32_t layer_count(const ModelSummary& model) {
  return static_cast<std::int32_t>(model.units.size()) - 2 -
         static_cast<std::int32_t>(model.mtp_depth);
}

double operations_of(const ModelSummary& model, const UnitSummary& unit) {
  const double rows = unit.is_moe ? static_cast<double>(model.num_experts_per_tok) : 0;
  return unit.forward_operations_per_token + rows * unit.expert_operations_per_row;
}

class Builder {
 public:
  Builder(const ModelSummary& model, const PlanOptions& options) : model_(model) {
    plan_.options = options;
  }

  Result<Plan> build() {
    SLUICE_TRY(check());
    SLUICE_TRY(choose_programs());
    plan_.supervisor = add(ActorKind::kSupervisor, "supervisor", 0);
    plan_.source = add(ActorKind::kSource, "source", 0);
    add_stages();
    plan_.reducer = add(ActorKind::kReducer, "reducer", 0);
    plan_.sink = add(ActorKind::kSink, "sink", last_rank());
    plan_.checkpointer = add(ActorKind::kCheckpointer, "checkpointer", 0);
    add_channels();
    measure_memory();
    return std::move(plan_);
  }

 private:
  const PlanOptions& options() const { return plan_.options; }
  std::int64_t tokens() const {
    return std::int64_t{options().micro_batch_size} * options().sequence_length;
  }
  std::int32_t last_rank() const {
    return (options().pipeline_parallel_size - 1) * options().expert_parallel_size;
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

  Status choose_programs() {
    const std::int32_t ranks = options().pipeline_parallel_size;
    if (!options().training) {
      plan_.placement = Placement::one_way(ranks, 1, options().micro_batches);
      programs_.assign(static_cast<std::size_t>(ranks), forward_program(options().micro_batches));
      return {};
    }
    SLUICE_ASSIGN(Schedule schedule, choose_schedule());
    SLUICE_TRY(check_can_run(schedule));
    plan_.placement = std::move(schedule.placement);
    programs_ = std::move(schedule.programs);
    return {};
  }

  Result<Schedule> choose_schedule() const {
    const std::int32_t ranks = options().pipeline_parallel_size;
    if (!options().schedule_read) {
      auto made = make_schedule(options().schedule, {ranks, options().micro_batches});
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

  // Stages run F and B of one chunk, stage r on rank r.
  static Status check_can_run(const Schedule& schedule) {
    const Placement& placement = schedule.placement;
    const auto refuse = [&](std::string_view what) {
      return invalid_input(
          "schedule {}: {}, which stages cannot run yet; use 1f1b or gpipe "
          "(`sluice schedule` shows and times every schedule)",
          schedule.name, what);
    };
    for (std::int32_t rank = 0; rank < placement.ranks(); ++rank) {
      if (placement.chunks(rank).size() != 1) return refuse("several stages on a rank");
      if (placement.chunk(rank, 0).stage != rank)
        return refuse("stages in another order than ranks");
      std::int32_t backward = 0;
      for (const Action& action : schedule.programs[static_cast<std::size_t>(rank)]) {
        const PassKind kind = action.passes().front().kind;
        if (action.is_pair()) return refuse("overlapped pairs");
        if (kind != PassKind::kForward && kind != PassKind::kBackward) {
          return refuse("weight gradients apart from input gradients");
        }
        if (kind == PassKind::kBackward && action.passes().front().micro_batch != backward++) {
          return refuse("backward passes in another order than their micro-batches'");
        }
      }
    }
    return {};
  }

  ActorIndex add(ActorKind kind, std::string name, std::int32_t rank) {
    plan_.actors.push_back({kind, std::move(name), rank});
    return static_cast<ActorIndex>(plan_.actors.size()) - 1;
  }

  void add_stages() {
    const std::vector<std::int32_t> bounds =
        partition_layers(model_, options().pipeline_parallel_size);
    for (std::int32_t p = 0; p < options().pipeline_parallel_size; ++p) {
      StagePlan stage;
      stage.pipeline_rank = p;
      stage.layer_first = bounds[static_cast<std::size_t>(p)];
      stage.layer_last = bounds[static_cast<std::size_t>(p) + 1];
      stage.is_first = p == 0;
      stage.is_last = p + 1 == options().pipeline_parallel_size;
      stage.program = programs_[static_cast<std::size_t>(p)];
      stage.activation_credits = live_activations_max(stage.program) + options().run_ahead;
      stage.actor =
          add(ActorKind::kStage, fmt::format("stage {}", p), p * options().expert_parallel_size);
      if (has_experts(stage)) add_expert_groups(stage);
      plan_.stages.push_back(std::move(stage));
    }
  }

  bool has_experts(const StagePlan& stage) const {
    bool found = stage.is_last && model_.mtp_depth > 0;
    for (std::int32_t l = stage.layer_first; l < stage.layer_last; ++l) {
      found = found || model_.units[static_cast<std::size_t>(l) + 1].is_moe;
    }
    return found;
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

  void connect(ActorIndex from, ActorIndex to, ChannelRole role, std::int32_t credits,
               std::int64_t bytes) {
    const std::string name =
        fmt::format("channel {} -> {}: {}", plan_.actors[static_cast<std::size_t>(from)].name,
                    plan_.actors[static_cast<std::size_t>(to)].name, name_of(role));
    const std::int32_t rank = plan_.actors[static_cast<std::size_t>(to)].rank;
    const ActorIndex actor = add(ActorKind::kChannel, name, rank);
    plan_.channels.push_back({actor, from, to, role, credits, bytes});
  }

  // Credits: two buffers let a transfer overlap the work on the one before. What the source and the
  // first stage send to the last one waits there while the pipeline fills, hence one more for each
  // stage. A stage has at most one dispatch under way for each pass in flight.
  void add_channels() {
    const std::int32_t in_flight = 1 + options().run_ahead;
    const std::int32_t fill = options().pipeline_parallel_size + in_flight;
    const std::int64_t hidden = tokens() * model_.hidden_bytes_per_token;
    const std::int64_t ids = std::int64_t{options().micro_batch_size} *
                             (options().sequence_length + 1 + model_.mtp_depth) * 4;
    const StagePlan& first = plan_.stages.front();
    const StagePlan& last = plan_.stages.back();
    connect(plan_.source, first.actor, ChannelRole::kTokens, 2, ids);
    connect(plan_.source, last.actor, ChannelRole::kTargets, fill, 0);  // the same tensor again
    for (std::size_t p = 0; p + 1 < plan_.stages.size(); ++p) {
      const ActorIndex from = plan_.stages[p].actor;
      const ActorIndex to = plan_.stages[p + 1].actor;
      connect(from, to, ChannelRole::kActivation, std::max(2, in_flight), hidden);
      if (options().training)
        connect(to, from, ChannelRole::kGradient, std::max(2, in_flight), hidden);
    }
    if (model_.mtp_depth > 0 && first.actor != last.actor) {
      connect(first.actor, last.actor, ChannelRole::kEmbedding, fill, hidden * model_.mtp_depth);
      if (options().training) {
        connect(last.actor, first.actor, ChannelRole::kEmbeddingGradient, fill,
                hidden * model_.mtp_depth);
      }
    }
    for (const StagePlan& stage : plan_.stages) {
      for (const ActorIndex group : stage.expert_groups) {
        connect(stage.actor, group, ChannelRole::kDispatch, in_flight + 1, hidden);
        connect(group, stage.actor, ChannelRole::kCombine, in_flight + 1, hidden);
      }
    }
  }

  void measure_memory() {
    plan_.memory.resize(static_cast<std::size_t>(plan_.ranks()));
    for (const StagePlan& stage : plan_.stages) measure_stage(stage);
    for (const ChannelPlan& channel : plan_.channels) {
      const std::int32_t rank = plan_.actors[static_cast<std::size_t>(channel.to)].rank;
      // Inside a process a waiting message refers to a tensor that its sender counts already.
      if (rank != plan_.actors[static_cast<std::size_t>(channel.from)].rank) {
        plan_.memory[static_cast<std::size_t>(rank)].buffers +=
            channel.credits * channel.message_bytes;
      }
    }
  }

  std::vector<const UnitSummary*> units_of(const StagePlan& stage) const {
    std::vector<const UnitSummary*> units;
    const auto add_unit = [&](std::size_t index) { units.push_back(&model_.units[index]); };
    const auto layers = static_cast<std::size_t>(layer_count(model_));
    if (stage.is_first) add_unit(0);
    for (std::int32_t l = stage.layer_first; l < stage.layer_last; ++l)
      add_unit(static_cast<std::size_t>(l) + 1);
    if (stage.is_last) {
      for (std::size_t u = layers + 1; u < model_.units.size(); ++u) add_unit(u);
    }
    return units;
  }

  void add_parameters(RankMemory& memory, std::int64_t count, std::int64_t packed_bytes) const {
    const auto n = static_cast<double>(count);
    memory.weights += static_cast<std::int64_t>(n * model_.weight_bytes) + packed_bytes;
    memory.master += static_cast<std::int64_t>(n * model_.master_bytes);
    if (!options().training) return;
    memory.gradients += static_cast<std::int64_t>(n * model_.gradient_bytes);
    memory.optimizer += static_cast<std::int64_t>(n * model_.optimizer_bytes);
  }

  void measure_stage(const StagePlan& stage) {
    const std::int32_t ep = options().expert_parallel_size;
    const std::int32_t live = options().training ? live_activations_max(stage.program) : 1;
    const std::int64_t live_tokens = tokens() * live;
    const std::int64_t rows = std::min(model_.num_experts_per_tok, model_.n_routed_experts / ep);
    RankMemory& own = plan_.memory[static_cast<std::size_t>(stage.pipeline_rank * ep)];
    for (const UnitSummary* unit : units_of(stage)) {
      add_parameters(own, unit->parameters, unit->packed_bytes);
      if (options().training) own.activations += live_tokens * unit->saved_bytes_per_token;
      if (unit->expert_parameters == 0) continue;
      for (std::int32_t e = 0; e < ep; ++e) {
        RankMemory& memory = plan_.memory[static_cast<std::size_t>(stage.pipeline_rank * ep + e)];
        const std::int64_t experts = model_.n_routed_experts / ep;
        add_parameters(memory, unit->expert_parameters * experts,
                       unit->expert_packed_bytes * experts);
        if (options().training) {
          memory.activations += live_tokens * rows * unit->expert_saved_bytes_per_row;
        }
      }
    }
    const std::int64_t logits =
        std::min(tokens() * model_.logits_bytes_per_token, model_.logits_bytes_max);
    own.buffers += std::max(tokens() * model_.scratch_bytes_per_token, stage.is_last ? logits : 0);
  }

  const ModelSummary& model_;
  Plan plan_;
  std::vector<Program> programs_;
};

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

std::vector<std::int32_t> partition_layers(const ModelSummary& model, std::int32_t stages) {
  const std::int32_t layers = layer_count(model);
  SLUICE_CHECK(stages >= 1 && stages <= layers, "{} stages for {} layers", stages, layers);
  // cost[l]: work of layers [0, l), the ends counted to the outermost layers.
  std::vector<double> cost(static_cast<std::size_t>(layers) + 1, 0);
  for (std::int32_t l = 0; l < layers; ++l) {
    double own = operations_of(model, model.units[static_cast<std::size_t>(l) + 1]);
    if (l + 1 == layers) {
      for (std::size_t u = static_cast<std::size_t>(layers) + 1; u < model.units.size(); ++u) {
        own += operations_of(model, model.units[u]);
      }
    }
    cost[static_cast<std::size_t>(l) + 1] = cost[static_cast<std::size_t>(l)] + own;
  }
  // best[s][l]: smallest possible largest stage when layers [0, l) form s stages; ties keep earlier
  // stages small.
  const auto width = static_cast<std::size_t>(layers) + 1;
  const auto count = static_cast<std::size_t>(stages);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(count + 1, std::vector<double>(width, kInfinity));
  std::vector<std::vector<std::size_t>> from(count + 1, std::vector<std::size_t>(width, 0));
  best[0][0] = 0;
  for (std::size_t s = 1; s <= count; ++s) {
    for (std::size_t l = s; l < width; ++l) {
      for (std::size_t k = s - 1; k < l; ++k) {
        const double largest = std::max(best[s - 1][k], cost[l] - cost[k]);
        if (largest < best[s][l]) {
          best[s][l] = largest;
          from[s][l] = k;
        }
      }
    }
  }
  std::vector<std::int32_t> bounds(count + 1);
  std::size_t end = width - 1;
  for (std::size_t s = count; s > 0; --s) {
    bounds[s] = static_cast<std::int32_t>(end);
    end = from[s][end];
  }
  bounds[0] = 0;
  return bounds;
}

Result<Plan> make_plan(const ModelSummary& model, const PlanOptions& options) {
  return Builder(model, options).build();
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
    out += fmt::format("  stage {}: layers {}..{}{}{}: {}\n", stage.pipeline_rank,
                       stage.layer_first, stage.layer_last - 1, stage.is_first ? ", embedding" : "",
                       stage.is_last ? ", head" : "",
                       to_string(stage.program, plan.placement, stage.pipeline_rank));
  }
  out += "memory\n";
  for (std::size_t rank = 0; rank < plan.memory.size(); ++rank) {
    const RankMemory& m = plan.memory[rank];
    out += fmt::format(
        "  rank {}: {} = weights {} + master {} + gradients {} + optimizer {} + activations {} + "
        "buffers {}\n",
        rank, mib(m.total()), mib(m.weights), mib(m.master), mib(m.gradients), mib(m.optimizer),
        mib(m.activations), mib(m.buffers));
  }
  return out;
}

}  // namespace sluice::graph
