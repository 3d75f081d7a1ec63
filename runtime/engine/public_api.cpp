// The embedding API on the engine: requests into configs, errors and reports into plain values.
#include <algorithm>
#include <atomic>

#include "runtime/engine/generator.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/engine/trainer.hpp"
#include "sluice/engine.hpp"

namespace sluice {
namespace {

Failure failure_of(Error error) {
  const bool is_invalid = error.kind == ErrorKind::kInvalidInput;
  return {is_invalid ? Failure::Kind::kInvalidInput : Failure::Kind::kFailed,
          std::move(error.message)};
}

template <class T>
Outcome<T> outcome_of(Result<T> result) {
  if (!result) return failure_of(std::move(result).error());
  return std::move(*result);
}

TrainProgress progress_of(const engine::StepProgress& from) {
  TrainProgress to;
  to.step = from.report.index + 1;
  to.steps = from.steps;
  to.loss = from.report.main;
  to.mtp_loss = from.report.mtp;
  to.gradient_norm = from.report.gradient_norm;
  to.learning_rate = from.report.learning_rate;
  for (const auto& layer : from.report.layers)
    to.max_violation = std::max(to.max_violation, layer.max_violation);
  to.tokens_per_s = from.tokens_per_s;
  to.remaining_s = from.eta_s;
  to.memory_bytes = from.memory_bytes;
  return to;
}

Result<TrainResult> run(const TrainRequest& request) {
  SLUICE_ASSIGN(const config::Config config, config::load_config(request.config, request.settings));
  TrainResult result;
  std::atomic<bool> stop{false};
  engine::TrainEvents events;
  events.on_step = [&](const engine::StepProgress& progress) {
    result.losses.push_back(progress.report.main);
    if (request.on_step && !request.on_step(progress_of(progress))) stop = true;
  };
  SLUICE_ASSIGN(engine::TrainOutcome outcome,
                engine::train(config, {.resume = request.resume}, events, stop));
  result.checkpoint = std::move(outcome.checkpoint);
  result.steps_done = outcome.next_step;
  result.complete = outcome.complete;
  result.validation_loss = outcome.validation_loss;
  result.unigram_loss = outcome.validation_unigram_loss;
  return result;
}

Result<std::unique_ptr<engine::Generator>> load_generator(const EngineOptions& options) {
  if (options.positions_max < 0)
    return invalid_input("positions_max is {}; give 0 or more", options.positions_max);
  SLUICE_ASSIGN(const config::Config config, config::load_config({}, options.settings));
  engine::Generator::Config load;
  load.checkpoint = options.checkpoint;
  load.positions_max = options.positions_max;
  SLUICE_ASSIGN(load.cluster, engine::cluster_options(config, {}));
  return engine::Generator::load(std::move(load));
}

// The command line's ranges; the actors take them for granted.
Status check(const GenerateRequest& request) {
  if (request.max_tokens < 1 || request.max_tokens > (1 << 20))
    return invalid_input("max_tokens is {}; give 1 to {}", request.max_tokens, 1 << 20);
  if (!(request.temperature >= 0 && request.temperature <= 100))
    return invalid_input("temperature is {}; give 0 to 100", request.temperature);
  if (!(request.top_p >= 0 && request.top_p <= 1))
    return invalid_input("top_p is {}; give 0 to 1", request.top_p);
  return {};
}

Result<GenerateResult> write(engine::Generator& generator, const GenerateRequest& request) {
  SLUICE_TRY(check(request));
  engine::GenerateOptions options;
  options.prompt = request.prompt;
  options.max_tokens = request.max_tokens;
  options.temperature = request.temperature;
  options.top_p = request.top_p;
  options.seed = request.seed;
  options.stop_at_end = request.stop_at_end;
  SLUICE_ASSIGN(engine::GenerateResult from, generator.generate(options, request.on_text));
  GenerateResult to;
  to.text = std::move(from.text);
  to.tokens = std::move(from.tokens);
  to.prompt_tokens = std::move(from.prompt_tokens);
  to.ended = from.ended;
  to.prompt_seconds = from.prompt_seconds;
  to.seconds_per_token = from.seconds_per_token;
  return to;
}

}  // namespace

struct Engine::State {
  std::unique_ptr<engine::Generator> generator;
};

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::Engine(Engine&& other) noexcept = default;
Engine& Engine::operator=(Engine&& other) noexcept = default;
Engine::~Engine() = default;

Outcome<TrainResult> train(const TrainRequest& request) { return outcome_of(run(request)); }

Outcome<Engine> Engine::load(const EngineOptions& options) {
  auto generator = load_generator(options);
  if (!generator) return failure_of(std::move(generator).error());
  return Engine(std::make_unique<State>(State{std::move(*generator)}));
}

Outcome<GenerateResult> Engine::generate(const GenerateRequest& request) {
  return outcome_of(write(*state_->generator, request));
}

std::string version() { return SLUICE_VERSION; }

}  // namespace sluice
