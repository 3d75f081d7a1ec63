// The embedding API: train from a config, load a checkpoint, generate text.
//
//   auto run = sluice::train({"configs/quickstart.toml", {"train.steps=20"}});
//   if (!run) return complain(run.failure().message);
//   auto engine = sluice::Engine::load({run->checkpoint});
//   auto written = engine->generate({"Once upon a time"});
//
// Nothing here prints, takes signals or throws (but reading an Outcome that is not there). Relative
// paths are taken
// from the working directory. Callbacks run on the thread that made the call and must not throw.
#pragma once

#include <memory>

#include "sluice/options.hpp"
#include "sluice/request.hpp"
#include "sluice/result.hpp"
#include "sluice/version.hpp"

namespace sluice {

/// Trains as `sluice train` does: metrics, config and checkpoints go into run.directory. Blocks.
[[nodiscard]] SLUICE_API Outcome<TrainResult> train(const TrainRequest& request);

/// A trained model with its actors running. One call at a time; several engines may live at once.
class SLUICE_API Engine {
 public:
  /// Failures: no whole checkpoint there, a file that does not fit the model, an unknown setting.
  [[nodiscard]] static Outcome<Engine> load(const EngineOptions& options);

  Engine(Engine&& other) noexcept;
  Engine& operator=(Engine&& other) noexcept;
  ~Engine();  ///< stops the actors

  /// Blocks until the text has ended. Failures: an empty prompt where the tokenizer has no token to
  /// begin with, more tokens than there are positions.
  [[nodiscard]] Outcome<GenerateResult> generate(const GenerateRequest& request);

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
