// sluice generate: text from a checkpoint, streamed.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/engine/generator.hpp"
#include "runtime/engine/settings.hpp"

namespace sluice {
namespace {

struct GenerateArguments {
  engine::GenerateOptions generate;
  ConfigOptions config;
  std::string checkpoint;
  std::int64_t positions_max = 0;
  bool json = false;
};

std::string to_json(const engine::GenerateResult& result) {
  nlohmann::ordered_json out;
  out["text"] = result.text;
  out["tokens"] = result.tokens;
  out["prompt_tokens"] = result.prompt_tokens;
  out["ended"] = result.ended;
  out["prompt_seconds"] = result.prompt_seconds;
  out["seconds_per_token"] = result.seconds_per_token;
  return out.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<int> generate(const GenerateArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  engine::Generator::Config load;
  load.checkpoint = arguments.checkpoint;
  load.positions_max = arguments.positions_max;
  SLUICE_ASSIGN(load.cluster, engine::cluster_options(config, {}));
  SLUICE_ASSIGN(const auto generator, engine::Generator::load(std::move(load)));
  const auto write = [](std::string_view text) { static_cast<void>(print(text)); };
  bool begun = arguments.json;
  const auto begin = [&] {  // with the first text: an error writes nothing to standard output
    if (!std::exchange(begun, true)) write(arguments.generate.prompt);
  };
  const auto stream = [&](std::string_view text) {
    begin();
    write(text);
  };
  SLUICE_ASSIGN(
      const engine::GenerateResult result,
      generator->generate(arguments.generate,
                          arguments.json ? std::function<void(std::string_view)>() : stream));
  begin();
  SLUICE_TRY(print(arguments.json ? to_json(result) : "\n"));  // sees what went wrong before, too
  if (!arguments.json && result.seconds_per_token > 0) {
    fmt::print(stderr, "[{} tokens, {:.1f} tokens/s, first after {:.0f} ms]\n",
               result.tokens.size(), 1 / result.seconds_per_token, result.prompt_seconds * 1e3);
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<GenerateArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("generate", "Write text with a trained model");
  command
      ->add_option("checkpoint", arguments->checkpoint,
                   "a checkpoint folder, or the folder of a run")
      ->required();
  command->add_option("--prompt", arguments->generate.prompt, "the text to go on from")->required();
  command->add_option("--max-tokens", arguments->generate.max_tokens, "most tokens to write")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--temperature", arguments->generate.temperature,
                   "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command
      ->add_option("--top-p", arguments->generate.top_p,
                   "draw among the likeliest tokens of this share")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", arguments->generate.seed, "of the draws")->capture_default_str();
  command
      ->add_option("--positions-max", arguments->positions_max,
                   "room for prompt and text together, in tokens")
      ->check(CLI::Range(1, 1 << 24));
  command->add_flag("--json", arguments->json,
                    "one JSON object at the end instead of streamed text");
  add_set_option(*command, arguments->config);
  command->callback([arguments, &run] { run = [arguments] { return generate(*arguments); }; });
}

}  // namespace sluice
