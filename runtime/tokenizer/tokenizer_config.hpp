// What of tokenizer_config.json changes ids: special tokens, BOS and EOS, add_prefix_space.
#pragma once

#include "kernels/base/result.hpp"
#include "runtime/tokenizer/json_node.hpp"
#include "runtime/tokenizer/tokenizer_parts.hpp"

namespace sluice {

/// An added token as tokenizer.json and tokenizer_config.json both write it.
Result<AddedToken> read_added_token(const JsonNode& node);

/// Adds the special tokens that the config names, and sets BOS, EOS and, for classes that take them
/// from add_bos_token and add_eos_token, what frames a text.
Status read_config(const JsonNode& config, TokenizerParts& parts);

/// transformers sets add_prefix_space of a ByteLevel that is the whole pre-tokenizer from the
/// config; absent is false, but None, and so no change, for Llama's classes.
Status override_prefix_space(const JsonNode& config, nlohmann::json& root);

/// Without a config: what the names of the tokens tell.
void guess_ends(TokenizerParts& parts);

}  // namespace sluice
