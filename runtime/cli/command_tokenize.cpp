// sluice tokenize PATH: strings to ids and back, a JSON value a line.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/tokenize.hpp"
#include "runtime/tokenizer/json_node.hpp"

namespace sluice {
namespace {

Status encode_line(const Tokenizer& tokenizer, const TokenizeOptions& options,
                   const nlohmann::json& value, std::string& out) {
  SLUICE_ASSIGN(const auto text, JsonNode(value, "the value").text());
  SLUICE_ASSIGN(const auto ids, tokenizer.encode(text, options.encode));
  out.push_back('[');
  for (std::size_t i = 0; i < ids.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i == 0 ? "" : ", ", ids[i]);
  }
  out.push_back(']');
  return {};
}

Status decode_line(const Tokenizer& tokenizer, const TokenizeOptions& options,
                   const nlohmann::json& value, std::string& out) {
  const JsonNode node(value, "the value");
  SLUICE_ASSIGN(const auto count, node.array_size());
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) {
    SLUICE_ASSIGN(ids[i], node.element(i).integer(0, INT32_MAX));
  }
  out += nlohmann::json(tokenizer.decode(ids, options.decode)).dump(-1, ' ', true);
  return {};
}

Status convert_line(const Tokenizer& tokenizer, const TokenizeOptions& options,
                    std::string_view line, std::string& out) {
  auto value = parse_json(line);
  if (!value) {
    return invalid_input("not JSON; give one JSON {} a line",
                         options.to_text ? "list of ids" : "string");
  }
  return options.to_text ? decode_line(tokenizer, options, *value, out)
                         : encode_line(tokenizer, options, *value, out);
}

Result<int> tokenize(const std::string& path, const TokenizeOptions& options) {
  SLUICE_ASSIGN(const auto tokenizer, Tokenizer::load(path));
  std::ios::sync_with_stdio(false);
  SLUICE_TRY(tokenize_lines(tokenizer, options, std::cin, std::cout));
  return 0;
}

}  // namespace

Status tokenize_lines(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                      std::ostream& out) {
  std::string line, converted;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    converted.clear();
    auto status = convert_line(tokenizer, options, line, converted);
    if (!status) {
      out.flush();
      return in_context(fmt::format("standard input, line {}", number), std::move(status).error());
    }
    converted.push_back('\n');
    out << converted;
    if (in.rdbuf()->in_avail() <= 0) out.flush();
    if (!out) break;
  }
  out.flush();
  if (!out) return failed("cannot write to standard output; is the disk full or the reader gone?");
  return {};
}

void add_tokenize(CLI::App& app, CommandRun& run) {
  struct Arguments {
    std::string path;
    TokenizeOptions options;
  };
  const auto arguments = std::make_shared<Arguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand(
      "tokenize", "Strings to token ids, or back: one JSON value a line from standard input");
  command
      ->add_option("tokenizer", arguments->path,
                   "a tokenizer.json, a folder that has one, or the word bytes")
      ->required();
  auto& options = arguments->options;
  command->add_flag("--add-special-tokens", options.encode.add_special_tokens,
                    "add BOS and the like, where the tokenizer's files say so");
  command->add_flag("--literal", options.encode.literal,
                    "take special tokens in the text as plain text");
  auto* decode = command->add_flag("--decode", options.to_text, "lines are lists of ids");
  command
      ->add_flag("--skip-special-tokens", options.decode.skip_special_tokens,
                 "leave special tokens out of the text")
      ->needs(decode);
  command->callback([arguments, &run] {
    run = [arguments] { return tokenize(arguments->path, arguments->options); };
  });
}

}  // namespace sluice
