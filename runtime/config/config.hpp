// The run config: every key of the TOML file with its default, range and meaning.
//
// Layers: the defaults below, then the file, then --set. load_config() checks keys, types and
// ranges, then the combinations; messages say file:line and key. A relative path is taken from the
// working directory, model.config and schedule.file first from the folder of the TOML file. What
// depends on the architecture is checked by check_model().
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/model_config.hpp"
#include "graph/schedule/schedule.hpp"
#include "kernels/base/result.hpp"
#include "kernels/base/visit_fields.hpp"

namespace sluice::config {

/// Keys of the architecture that replace those of config.json; absent ones do not.
class ModelOverrides {
 public:
  ModelOverrides();
  template <class V>
  void visit_fields(V&& visit);
  /// The same model with the overrides in place; not validated.
  [[nodiscard]] model::ModelConfig applied_to(model::ModelConfig model) const;

 private:
  std::map<std::string, std::optional<std::int64_t>, std::less<>> integers_;
  std::map<std::string, std::optional<double>, std::less<>> reals_;
  std::map<std::string, std::optional<bool>, std::less<>> flags_;

  template <class T>
  std::optional<T>& slot(std::string_view name);
};

struct ModelSection {
  std::string config;
  std::optional<std::int64_t> mtp_depth;
  ModelOverrides overrides;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("config", config).doc("path of a Hugging Face config.json, or of its folder"));
    visit(field("mtp_depth", mtp_depth)
              .range(0, 64)
              .doc("multi-token prediction depths; num_nextn_predict_layers where absent"));
    overrides.visit_fields(visit);
  }
};

struct PrecisionSection {
  std::string recipe = "fp32";

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("recipe", recipe)
              .one_of({"fp32", "bf16", "fp8"})
              .doc("bf16: BF16 weights and activations, FP32 master weights, gradients and sums; "
                   "fp8: DeepSeek-V3's, simulated only"));
  }
};

struct TopologySection {
  std::int64_t pipeline_parallel_size = 1;
  std::int64_t expert_parallel_size = 1;
  std::int64_t data_parallel_size = 1;
  std::vector<std::int64_t> layers_per_stage;
  std::int64_t activation_buffers = 0;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("pipeline_parallel_size", pipeline_parallel_size)
              .range(1, 1024)
              .doc("pipeline stages; at most the model's layers"));
    visit(field("expert_parallel_size", expert_parallel_size)
              .range(1, 1024)
              .doc("expert groups of a stage; divides the routed experts"));
    visit(field("data_parallel_size", data_parallel_size)
              .range(1, 65536)
              .doc("pipelines with micro-batches of their own; above 1 simulated only"));
    visit(field("layers_per_stage", layers_per_stage)
              .range(1, 10000)
              .doc("main layers of each stage, in order; empty: balanced"));
    visit(
        field("activation_buffers", activation_buffers)
            .range(0, 1 << 20)
            .doc("micro-batches that a rank keeps at once; 0: what its schedule needs, and ahead"));
  }
};

struct ScheduleSection {
  std::string name = "1f1b";
  std::string file;
  std::int64_t stages_per_rank = 0;
  std::int64_t run_ahead = 1;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("name", name)
              .one_of(graph::schedule_names())
              .doc("order of forward and backward passes; `sluice schedule` shows each"));
    visit(field("file", file).doc("CSV of torch.distributed.pipelining, in place of name"));
    visit(field("stages_per_rank", stages_per_rank)
              .range(0, 64)
              .doc("of interleaved_1f1b; 0: as many as a schedule has by itself"));
    visit(field("run_ahead", run_ahead)
              .range(0, 64)
              .doc("actions of a rank that may start before the oldest one ends"));
  }
};

struct TrainSection {
  std::int64_t steps = 1000;
  std::int64_t sequence_length = 256;
  std::int64_t micro_batch_size = 1;
  std::int64_t global_batch_size = 8;
  std::int64_t gradient_shards = 0;
  double learning_rate = 2.2e-4;
  double minimum_learning_rate = 2.2e-5;
  std::int64_t warmup_steps = 100;
  std::int64_t constant_steps = 600;
  std::int64_t decay_steps = 300;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  double balance_alpha = 1e-4;
  double mtp_lambda = 0.3;
  double bias_gamma = 1e-3;
  std::int64_t seed = 0;
  std::int64_t validation_every = 50;
  std::int64_t validation_samples = 16;

  template <class V>
  void visit_fields(V&& visit);
  template <class V>
  void visit_batches(V&& visit);
  template <class V>
  void visit_optimizer(V&& visit);
};

struct DataSection {
  std::vector<std::string> paths;
  std::string tokenizer = "bytes";
  double validation_share = 0.05;
  double fim_rate = 0;
  std::string cache_directory = ".cache/tokens";

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("paths", paths).doc("text files and JSONL (field text) to train on; globs"));
    visit(field("tokenizer", tokenizer)
              .doc("bytes, or the path of a tokenizer.json or of its folder"));
    visit(field("validation_share", validation_share)
              .range(0, 0.5)
              .doc("share of the samples that is kept for validation"));
    visit(field("fim_rate", fim_rate)
              .range(0, 1)
              .doc("share of the documents turned prefix-suffix-middle (the report: 0.1)"));
    visit(field("cache_directory", cache_directory).doc("folder of tokenized data"));
  }
};

struct DeviceSection {
  std::int64_t threads = 0;
  bool ranks_share_lanes = true;
  std::string isa = "auto";
  std::string bf16_dot = "auto";
  std::int64_t memory_bytes_max = 0;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("threads", threads)
              .range(0, 1024)
              .doc("threads of a compute lane; 0: all of the machine, shared out to the lanes"));
    visit(field("ranks_share_lanes", ranks_share_lanes)
              .doc("all ranks of a process compute on one lane; false: each on one of its own, as "
                   "on devices of their own"));
    visit(field("isa", isa)
              .one_of({"auto", "reference", "avx2", "avx512"})
              .doc("kernel set; in fp32 all give the same bits"));
    visit(
        field("bf16_dot", bf16_dot)
            .one_of({"auto", "on", "off"})
            .doc("AMX or AVX512-BF16 products; auto: where they are faster; on: where the CPU has "
                 "them; off: widened to FP32"));
    visit(
        field("memory_bytes_max", memory_bytes_max)
            .range(0, 1e15)
            .doc("of one rank; a plan that needs more is refused; 0: no limit but the machine's"));
  }
};

struct LinkSection {
  double latency_us = 0;
  double megabytes_per_s = 0;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("latency_us", latency_us)
              .range(0, 1e7)
              .doc("simulated network: by which every message between stages, and between a stage "
                   "and its experts, is late; 0: none"));
    visit(field("megabytes_per_s", megabytes_per_s)
              .range(0, 1e9)
              .doc("simulated network: of each such channel; 0: no limit"));
  }
};

struct CheckpointSection {
  std::string directory;
  std::int64_t every_steps = 0;
  std::int64_t keep = 2;

  template <class V>
  void visit_fields(V&& visit) {
    visit(field("directory", directory)
              .doc("folder of the step folders; checkpoints in run.directory where empty"));
    visit(field("every_steps", every_steps)
              .range(0, 1e9)
              .doc("steps between checkpoints; 0: only at the end"));
    visit(field("keep", keep).range(1, 1e6).doc("newest checkpoints that are kept"));
  }
};

struct RunSection {
  std::string directory = "runs/latest";

  template <class V>
  void visit_fields(V&& visit) {
    visit(
        field("directory", directory).doc("folder of metrics.jsonl, the config used, checkpoints"));
  }
};

struct Config {
  ModelSection model;
  PrecisionSection precision;
  TopologySection topology;
  ScheduleSection schedule;
  TrainSection train;
  DataSection data;
  DeviceSection device;
  LinkSection link;
  CheckpointSection checkpoint;
  RunSection run;

  /// "file:line" or "--set" of each key that was given. Not part of what is dumped or compared.
  std::map<std::string, std::string, std::less<>> origins;
  std::filesystem::path file;  ///< that was read; empty: none

  /// visit(section name, section) for each.
  template <class V>
  void visit_sections(V&& visit);
  /// visit(section name, field) for each key.
  template <class V>
  void visit_fields(V&& visit) {
    visit_sections([&visit](std::string_view name, auto& section) {
      section.visit_fields([&](auto&& f) { visit(name, f); });
    });
  }

  /// Number of micro-batches of a step.
  [[nodiscard]] std::int64_t micro_batches() const {
    return train.global_batch_size / train.micro_batch_size;
  }
  /// train.gradient_shards, or the number of routes that micro-batches take in the schedule.
  [[nodiscard]] std::int64_t gradient_shards() const;
  [[nodiscard]] std::filesystem::path checkpoint_directory() const;
  /// "run.toml:7: train.steps", "--set train.steps", or the key alone where the default acts.
  [[nodiscard]] std::string where(std::string_view key) const;
};

/// Defaults, then `file` (none where empty), then each of `sets`, "key=value": the value is TOML, a
/// bare word or a path is a string. All problems found are in one message, a line each.
[[nodiscard]] Result<Config> load_config(const std::filesystem::path& file,
                                         std::span<const std::string> sets);
/// The same from text; `name` stands for the file in messages.
[[nodiscard]] Result<Config> parse_config(std::string_view toml, std::string_view name,
                                          std::span<const std::string> sets);

/// Combinations that need no architecture; load_config() has done it.
[[nodiscard]] Status validate(const Config& config);
/// mtp_depth and the overrides of [model] on `base` (which a checkpoint may have given), validated.
[[nodiscard]] Result<model::ModelConfig> apply_overrides(const Config& config,
                                                         const model::ModelConfig& base);
/// Reads model.config and applies the overrides.
[[nodiscard]] Result<model::ModelConfig> load_model(const Config& config);
/// Where model.config lies; empty where it is not given.
[[nodiscard]] std::filesystem::path model_path(const Config& config);
/// Where schedule.file lies; empty where it is not given.
[[nodiscard]] std::filesystem::path schedule_path(const Config& config);
/// What the run asks of the architecture: stages, expert groups, sequence length.
[[nodiscard]] Status check_model(const Config& config, const model::ModelConfig& model);

/// TOML that load_config() reads back to the same values: every key, with its meaning, range and
/// default as a comment.
[[nodiscard]] std::string dump_toml(const Config& config);
/// Digest of what decides the numbers of a step: architecture overrides, precision, training, data.
/// Neither where nor how long it runs: layout, devices, folders, steps, validation.
[[nodiscard]] std::uint64_t numerics_digest(const Config& config);

/// The keys that numerics_digest() covers and whose values differ, "train.seed (7 here, 8 there)".
[[nodiscard]] std::vector<std::string> numerics_differences(const Config& here,
                                                            const Config& there);

struct KeyHelp {
  std::string key;            ///< "train.steps"
  std::string type;           ///< "integer", "real", "flag", "string", "list of strings"
  std::string default_value;  ///< as TOML; empty: absent
  std::string range;          ///< "1 to 1000000000", "fp32 | bf16", or empty
  std::string doc;
};
/// Help on every key, in the order of the file.
[[nodiscard]] std::vector<KeyHelp> explain_all();
/// Help on one key, or on all of a section; an unknown name is an error with the nearest one.
[[nodiscard]] Result<std::vector<KeyHelp>> explain(std::string_view key);

template <class T>
std::optional<T>& ModelOverrides::slot(std::string_view name) {
  if constexpr (std::is_same_v<T, bool>) {
    return flags_.find(name)->second;
  } else if constexpr (std::is_same_v<T, double>) {
    return reals_.find(name)->second;
  } else {
    return integers_.find(name)->second;
  }
}

template <class V>
void ModelOverrides::visit_fields(V&& visit) {
  model::ModelConfig names;
  names.visit_fields([&]<class T>(Field<T>&& f) {
    visit(
        Field<std::optional<T>>{f.name, slot<T>(f.name), f.minimum, f.maximum, f.text, f.choices});
  });
}

template <class V>
void TrainSection::visit_fields(V&& visit) {
  visit_batches(visit);
  visit_optimizer(visit);
  visit(field("balance_alpha", balance_alpha)
            .range(0, 1e3)
            .doc("weight of the sequence-wise balance loss"));
  visit(field("mtp_lambda", mtp_lambda)
            .range(0, 1e3)
            .doc("weight of the mean loss over multi-token prediction depths"));
  visit(field("bias_gamma", bias_gamma)
            .range(0, 1)
            .doc("step by which an expert's bias follows its load; 0: fixed"));
  visit(field("seed", seed).range(0, 9007199254740992.0).doc("of weights, shuffling and fim"));
  visit(field("validation_every", validation_every)
            .range(0, 1e9)
            .doc("steps between validations; 0: only at the end"));
  visit(field("validation_samples", validation_samples)
            .range(1, 1e6)
            .doc("sequences of a validation, at most what is kept for it"));
}

template <class V>
void TrainSection::visit_batches(V&& visit) {
  visit(field("steps", steps).range(1, 1e9).doc("optimizer steps of the whole run"));
  visit(field("sequence_length", sequence_length).range(1, 1 << 20).doc("tokens of a sequence"));
  visit(field("micro_batch_size", micro_batch_size)
            .range(1, 1 << 16)
            .doc("sequences of a micro-batch"));
  visit(field("global_batch_size", global_batch_size)
            .range(1, 1 << 20)
            .doc("sequences of a step; a multiple of micro_batch_size"));
  visit(field("gradient_shards", gradient_shards)
            .range(0, 1 << 20)
            .doc("parts of a step whose gradients are summed apart, then along a tree; 0: one for "
                 "each route of the schedule"));
}

template <class V>
void TrainSection::visit_optimizer(V&& visit) {
  visit(field("learning_rate", learning_rate).range(0, 1e3).doc("after the warm-up"));
  visit(field("minimum_learning_rate", minimum_learning_rate)
            .range(0, 1e3)
            .doc("where the cosine ends, and after it"));
  visit(field("warmup_steps", warmup_steps)
            .range(0, 1e9)
            .doc("steps of the linear rise from 0 to learning_rate"));
  visit(field("constant_steps", constant_steps).range(0, 1e9).doc("steps at learning_rate"));
  visit(field("decay_steps", decay_steps)
            .range(0, 1e9)
            .doc("steps of the cosine to minimum_learning_rate"));
  visit(field("adam_beta1", adam_beta1).range(0, 1).doc("decay of the first moment, below 1"));
  visit(field("adam_beta2", adam_beta2).range(0, 1).doc("decay of the second moment, below 1"));
  visit(field("adam_epsilon", adam_epsilon)
            .range(1e-30, 1)
            .doc("added to the root of the second moment"));
  visit(field("weight_decay", weight_decay)
            .range(0, 1e3)
            .doc("decoupled, on matrices, embedding and head; not on vectors"));
  visit(field("clip_norm", clip_norm)
            .range(0, 1e9)
            .doc("global gradient norm above which gradients are scaled down; 0: never"));
}

template <class V>
void Config::visit_sections(V&& visit) {
  visit("model", model);
  visit("precision", precision);
  visit("topology", topology);
  visit("schedule", schedule);
  visit("train", train);
  visit("data", data);
  visit("device", device);
  visit("link", link);
  visit("checkpoint", checkpoint);
  visit("run", run);
}

}  // namespace sluice::config
