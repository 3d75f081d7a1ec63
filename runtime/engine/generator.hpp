// Text from a checkpoint: tokenizer, weights, and the actors that generate one token after the
// other.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/engine/cluster.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace sluice::engine {

struct GenerateOptions {
  std::string prompt;
  std::int64_t max_tokens = 128;
  double temperature = 0;  ///< 0: greedy
  double top_p = 1;
  std::uint64_t seed = 0;
  bool stop_at_end = true;  ///< at the end-of-text token
};

struct GenerateResult {
  std::string text;  ///< of the new tokens
  std::vector<std::int32_t> prompt_tokens, tokens;
  bool ended = false;            ///< by the end-of-text token
  double prompt_seconds = 0;     ///< until the first token
  double seconds_per_token = 0;  ///< of the tokens after the first
};

/// A model that is loaded once and generates any number of texts, one at a time.
class Generator {
 public:
  struct Config {
    std::string checkpoint;          ///< a checkpoint folder, or a run's
    std::int64_t positions_max = 0;  ///< longest prompt and text together; 0: what the model allows
    ClusterOptions cluster;          ///< device, recipe, topology; model and use are filled in
  };
  [[nodiscard]] static Result<std::unique_ptr<Generator>> load(Config config);
  ~Generator();

  /// `emit` gets the text as it becomes certain; may be empty.
  [[nodiscard]] Result<GenerateResult> generate(const GenerateOptions& options,
                                                const std::function<void(std::string_view)>& emit);
  [[nodiscard]] const model::ModelConfig& model() const { return model_; }
  [[nodiscard]] const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  Generator() = default;
  model::ModelConfig model_;
  std::int64_t positions_max_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Cluster> cluster_;
};

}  // namespace sluice::engine
