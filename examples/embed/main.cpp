// Embeds Sluice: trains a few steps from a config, then writes text with what was learned.
// Run in the root of a checkout: embed [CONFIG] [key=value]...
#include <cstdio>
#include <sluice/engine.hpp>
#include <string>
#include <string_view>

namespace {

int complain(const sluice::Failure& failure) {
  std::fprintf(stderr, "embed: %s\n", failure.message.c_str());
  return failure.kind == sluice::Failure::Kind::kInvalidInput ? 2 : 1;
}

bool show_step(const sluice::TrainProgress& progress) {
  std::printf("step %ld of %ld: loss %.4f, %.0f tokens/s\n", static_cast<long>(progress.step),
              static_cast<long>(progress.steps), progress.loss, progress.tokens_per_s);
  return true;  // false would save and stop here
}

void show_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  sluice::TrainRequest train;
  train.config = argc > 1 ? argv[1] : "configs/quickstart.toml";
  train.settings = {"train.steps=20", "run.directory=runs/embed"};
  for (int i = 2; i < argc; ++i) train.settings.push_back(argv[i]);
  train.on_step = show_step;
  const auto run = sluice::train(train);
  if (!run) return complain(run.failure());
  std::printf("checkpoint %s\n", run->checkpoint.c_str());

  sluice::EngineOptions options;
  options.checkpoint = run->checkpoint;
  auto engine = sluice::Engine::load(options);
  if (!engine) return complain(engine.failure());

  sluice::GenerateRequest request;
  request.prompt = "// ";
  request.max_tokens = 64;
  request.on_text = show_text;
  show_text(request.prompt);
  const auto written = engine->generate(request);
  if (!written) return complain(written.failure());
  std::printf("\n%zu tokens from Sluice %s\n", written->tokens.size(), sluice::version().c_str());
  return 0;
}
