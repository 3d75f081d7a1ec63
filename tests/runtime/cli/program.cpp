// Arguments, files and output of the child.
#include "tests/runtime/cli/program.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::test {
namespace {

// Dense and MoE layers, a prediction depth, two groups of experts; byte-level vocabulary.
constexpr const char* kModel = R"({"architectures": ["DeepseekV3ForCausalLM"],
 "model_type": "deepseek_v3", "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48,
 "moe_intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
 "num_key_value_heads": 2, "n_shared_experts": 1, "n_routed_experts": 8,
 "routed_scaling_factor": 2.5, "kv_lora_rank": 12, "q_lora_rank": 16, "qk_rope_head_dim": 4,
 "v_head_dim": 8, "qk_nope_head_dim": 8, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 2,
 "first_k_dense_replace": 1, "norm_topk_prob": true, "hidden_act": "silu",
 "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
 "num_nextn_predict_layers": 1, "bos_token_id": 256, "eos_token_id": 257}
)";

constexpr const char* kRun = R"([model]
config = "config.json"
[train]
steps = 8
sequence_length = 16
micro_batch_size = 1
global_batch_size = 2
learning_rate = 0.01
minimum_learning_rate = 0.001
warmup_steps = 2
constant_steps = 4
decay_steps = 8
balance_alpha = 0.01
validation_every = 3
validation_samples = 4
seed = 7
[data]
paths = ["{0}/text/*.txt"]
cache_directory = "{0}/cache"
[device]
threads = 1
)";

std::string little_text() {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += fmt::format("Line {}: the actor number {} sends {} tokens to group {}.\n", i,
                        i * 7 % 11, i * i % 97, i % 4);
  }
  return text;
}

}  // namespace

std::vector<std::string> program(const std::vector<std::string>& arguments) {
  std::vector<std::string> out{SLUICE_PROGRAM};
  out.insert(out.end(), arguments.begin(), arguments.end());
  return out;
}

ChildResult run_program(const std::vector<std::string>& arguments, const ChildOptions& options) {
  return run_child(program(arguments), options);
}

std::string output_of(const std::string& command, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), command);
  const ChildResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << describe(result);
  return result.out;
}

std::string refusal_of(const std::string& command, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), command);
  const ChildResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 2) << describe(result);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.error.starts_with("sluice: error: ")) << result.error;
  return result.error;
}

std::string describe(const ChildResult& result) {
  return fmt::format("exit code {}, signal {}{}\n--- output\n{}\n--- error\n{}", result.exit_code,
                     result.signal_number, result.timed_out ? ", timed out" : "", result.out,
                     result.error);
}

SmallRun::SmallRun() {
  folder_.write("config.json", kModel);
  folder_.write("text/a.txt", little_text());
  std::string run = kRun;
  for (std::size_t at; (at = run.find("{0}")) != std::string::npos;)
    run.replace(at, 3, folder_.path().string());
  folder_.write("run.toml", run);
}

std::vector<std::string> SmallRun::train_arguments(const std::string& name,
                                                   const std::vector<std::string>& sets,
                                                   bool resume) const {
  std::vector<std::string> out{"train", config().string(), "--set",
                               "run.directory=" + directory(name).string()};
  for (const std::string& set : sets) out.insert(out.end(), {"--set", set});
  if (resume) out.emplace_back("--resume");
  return out;
}

ChildResult SmallRun::train(const std::string& name, const std::vector<std::string>& sets,
                            bool resume, const ChildOptions& options) const {
  return run_program(train_arguments(name, sets, resume), options);
}

std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    out.emplace(entry.path().filename().string(), read_file(entry.path()));
  return out;
}

std::vector<std::string> metrics_of(const std::filesystem::path& run_directory) {
  std::vector<std::string> out;
  std::ifstream file(run_directory / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    nlohmann::ordered_json object = nlohmann::ordered_json::parse(line);
    for (const char* measured : {"seconds", "tokens_per_s", "memory_bytes"}) object.erase(measured);
    out.push_back(object.dump());
  }
  return out;
}

}  // namespace sluice::test
