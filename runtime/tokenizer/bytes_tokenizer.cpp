// The tokenizer "bytes", written as the files that any Hugging Face loader takes.
#include <array>
#include <nlohmann/json.hpp>

#include "runtime/tokenizer/byte_letters.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 8> kSpecialTokens = {
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
    "<｜fim▁begin｜>",         "<｜fim▁hole｜>",
    "<｜fim▁end｜>",           "<｜User｜>",
    "<｜Assistant｜>",         "<｜▁pad▁｜>"};

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json special_token(int id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string bytes_tokenizer_json() {
  Json vocab = Json::object(), added = Json::array();
  for (int byte = 0; byte < 256; ++byte) {
    std::string letter;
    append_utf8(letter, byte_letter(static_cast<std::uint8_t>(byte)));
    vocab[letter] = byte;
  }
  for (std::size_t i = 0; i < kSpecialTokens.size(); ++i) {
    added.push_back(special_token(256 + static_cast<int>(i), kSpecialTokens[i]));
  }
  const std::string bos = kSpecialTokens[0];
  const Json bos_piece = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto text_piece = [](const char* id, int type) -> Json {
    return {{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  const Json json = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level(false)},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", Json::array({bos_piece, text_piece("A", 0)})},
        {"pair", Json::array({bos_piece, text_piece("A", 0), text_piece("B", 1)})},
        {"special_tokens",
         {{bos, {{"id", bos}, {"ids", Json::array({256})}, {"tokens", Json::array({bos})}}}}}}},
      {"decoder", byte_level(false)},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", Json::array()}}},
  };
  return json.dump(1) + "\n";
}

std::string bytes_tokenizer_config() {
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"add_prefix_space", false},
                       {"bos_token", kSpecialTokens[0]},
                       {"eos_token", kSpecialTokens[1]},
                       {"pad_token", kSpecialTokens[7]},
                       {"clean_up_tokenization_spaces", false},
                       {"model_max_length", 1 << 30}};
  return config.dump(1) + "\n";
}

}  // namespace sluice
