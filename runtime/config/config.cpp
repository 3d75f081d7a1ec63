// Combinations of keys, and the way from [model] to an architecture.
#include "runtime/config/config.hpp"

#include "runtime/config/schedule_file.hpp"
#include "runtime/store/hf_config.hpp"

namespace sluice::config {
namespace {

constexpr std::int64_t kMicroBatchTokensMax = 1 << 24;  // sizes of activations stay far below 2^63

// A path that the TOML file gave, from its folder where something is there.
std::filesystem::path beside_file(const Config& config, std::string_view key,
                                  const std::filesystem::path& path) {
  const auto origin = config.origins.find(key);
  const bool is_from_file = origin != config.origins.end() && origin->second != "--set";
  if (path.empty() || path.is_absolute() || !is_from_file) return path;
  std::error_code error;
  const std::filesystem::path beside = config.file.parent_path() / path;
  return std::filesystem::exists(beside, error) ? beside : path;
}

}  // namespace

ModelOverrides::ModelOverrides() {
  model::ModelConfig names;
  names.visit_fields([this]<class T>(Field<T>&& f) {
    const std::string name(f.name);
    if constexpr (std::is_same_v<T, bool>) {
      flags_[name];
    } else if constexpr (std::is_same_v<T, double>) {
      reals_[name];
    } else {
      integers_[name];
    }
  });
}

model::ModelConfig ModelOverrides::applied_to(model::ModelConfig model) const {
  ModelOverrides self = *this;
  model.visit_fields([&self]<class T>(Field<T>&& f) {
    if (const auto& value = self.slot<T>(f.name)) f.value = *value;
  });
  return model;
}

// Of a schedule that cannot be: one. What is wrong with it is said elsewhere.
std::int64_t Config::gradient_shards() const {
  if (train.gradient_shards > 0) return train.gradient_shards;
  std::size_t routes = 1;
  if (!schedule.file.empty()) {
    if (const auto read = read_schedule(schedule_path(*this)))
      routes = read->schedule.placement.routes().size();
  } else {
    const graph::ScheduleSize size{static_cast<std::int32_t>(topology.pipeline_parallel_size),
                                   static_cast<std::int32_t>(micro_batches()),
                                   static_cast<std::int32_t>(schedule.stages_per_rank)};
    if (const auto made = graph::make_schedule(schedule.name, size))
      routes = made->placement.routes().size();
  }
  return static_cast<std::int64_t>(routes);
}

std::filesystem::path Config::checkpoint_directory() const {
  return checkpoint.directory.empty() ? std::filesystem::path(run.directory) / "checkpoints"
                                      : std::filesystem::path(checkpoint.directory);
}

std::string Config::where(std::string_view key) const {
  const auto it = origins.find(key);
  if (it == origins.end()) return std::string(key);
  return fmt::format("{}{}{}", it->second, it->second == "--set" ? " " : ": ", key);
}

Status validate(const Config& config) {
  const TrainSection& train = config.train;
  if (train.global_batch_size % train.micro_batch_size != 0) {
    return invalid_input("{} is {}, no multiple of {}, which is {}",
                         config.where("train.global_batch_size"), train.global_batch_size,
                         config.where("train.micro_batch_size"), train.micro_batch_size);
  }
  if (const std::int64_t tokens = train.micro_batch_size * train.sequence_length;
      tokens > kMicroBatchTokensMax) {
    return invalid_input("{} is {}, which with {} of {} gives {} tokens, more than {}",
                         config.where("train.micro_batch_size"), train.micro_batch_size,
                         config.where("train.sequence_length"), train.sequence_length, tokens,
                         kMicroBatchTokensMax);
  }
  if (train.minimum_learning_rate > train.learning_rate) {
    return invalid_input("{} is {}, above {}, which is {}",
                         config.where("train.minimum_learning_rate"), train.minimum_learning_rate,
                         config.where("train.learning_rate"), train.learning_rate);
  }
  for (const auto& [key, beta] : {std::pair("train.adam_beta1", train.adam_beta1),
                                  std::pair("train.adam_beta2", train.adam_beta2)}) {
    if (beta >= 1) return invalid_input("{} is {}, must be below 1", config.where(key), beta);
  }
  if (config.origins.contains("model.mtp_depth") &&
      config.origins.contains("model.num_nextn_predict_layers")) {
    return invalid_input("{} says the same as {}; leave one out", config.where("model.mtp_depth"),
                         config.where("model.num_nextn_predict_layers"));
  }
  return {};
}

Result<model::ModelConfig> apply_overrides(const Config& config, const model::ModelConfig& base) {
  model::ModelConfig model = config.model.overrides.applied_to(base);
  if (config.model.mtp_depth) model.num_nextn_predict_layers = *config.model.mtp_depth;
  if (auto status = model.validate(); !status) {
    return in_context(config.file.empty() ? "[model]" : config.file.string() + ": [model]",
                      std::move(status).error());
  }
  return model;
}

std::filesystem::path model_path(const Config& config) {
  return beside_file(config, "model.config", config.model.config);
}
std::filesystem::path schedule_path(const Config& config) {
  return beside_file(config, "schedule.file", config.schedule.file);
}

Result<model::ModelConfig> load_model(const Config& config) {
  if (config.model.config.empty()) {
    return invalid_input(
        "{} names no config.json; set it in [model] or with --set model.config=PATH",
        config.where("model.config"));
  }
  auto hf = store::read_hf_config(model_path(config));
  if (!hf) return in_context(config.where("model.config"), std::move(hf).error());
  return apply_overrides(config, hf->model);
}

Status check_model(const Config& config, const model::ModelConfig& model) {
  if (config.topology.pipeline_parallel_size > model.num_hidden_layers) {
    return invalid_input("{} is {}, more than the model's {} layers",
                         config.where("topology.pipeline_parallel_size"),
                         config.topology.pipeline_parallel_size, model.num_hidden_layers);
  }
  if (model.n_routed_experts % config.topology.expert_parallel_size != 0) {
    return invalid_input("{} is {}, which does not divide the model's {} routed experts",
                         config.where("topology.expert_parallel_size"),
                         config.topology.expert_parallel_size, model.n_routed_experts);
  }
  if (config.train.sequence_length > model.max_position_embeddings) {
    return invalid_input("{} is {}, more than the model's max_position_embeddings {}",
                         config.where("train.sequence_length"), config.train.sequence_length,
                         model.max_position_embeddings);
  }
  return {};
}

}  // namespace sluice::config
