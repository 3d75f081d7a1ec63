// The two ends of the model: token embedding, final norm with the output head and loss; and
// multi-token prediction.
#pragma once

#include <cstdint>
#include <memory>

#include "graph/model/decoder_layer.hpp"
#include "graph/model/norm.hpp"

namespace sluice::model {

/// model.embed_tokens.
class Embedding {
 public:
  Embedding(const std::shared_ptr<const ModelConstants>& constants, ParameterSet& set);
  /// tokens i32 [T] -> [T, H].
  Tensor forward(const kernels::ComputeContext& context, const Tensor& tokens);
  /// gradient.row(token) += dx.row, in row order.
  void backward(const kernels::ComputeContext& context, const Tensor& tokens, const Tensor& dx);

 private:
  Recipe recipe_;
  Tensor table_, gradient_;
};

/// lm_head and the cross entropy, in blocks of rows so that logits of the whole micro-batch never
/// exist at once.
class Head {
 public:
  Head(const std::shared_ptr<const ModelConstants>& constants, ParameterSet& set);
  /// h [T, H] -> logits fp32 [T, V].
  Tensor logits(const kernels::ComputeContext& context, const Tensor& h);
  struct Loss {
    double sum = 0;  ///< of the losses of all rows, fp64 in row order
    Tensor dh;       ///< [T, H], when a gradient was asked for
  };
  /// targets i32 [T]. Without `gradient`: the loss alone. With: dh, and the head's weight gradient
  /// is added unless `weights_later`, both scaled by `dloss` (d(total)/d(loss of one row)).
  Loss loss(const kernels::ComputeContext& context, const Tensor& h, const Tensor& targets,
            bool gradient, float dloss, bool weights_later = false);
  /// What loss() left for later. Makes the logits again: they are larger than all that a layer
  /// keeps.
  void backward_weights(const kernels::ComputeContext& context, const Tensor& h,
                        const Tensor& targets, float dloss);
  /// Rows whose logits exist at one time in `loss`.
  [[nodiscard]] static std::int64_t rows_in_block(std::int64_t vocab_size);

 private:
  struct Block;  // rows whose logits exist at one time
  void block_loss(const kernels::ComputeContext& context, const Block& block, float dloss);
  template <class Each>
  void for_each_block(const kernels::ComputeContext& context, const Tensor& h,
                      const Tensor& targets, const Tensor& losses, bool gradient, Each&& each);
  Linear head_;
};

/// Multi-token prediction depth k (report 2.2): eh_proj([enorm(embedding), hnorm(h)]), a decoder
/// layer, shared_head.norm.
class MtpModule {
 public:
  struct Saved {
    Norm::Saved enorm, hnorm, output;
    Tensor joined;                 ///< [T, 2H]: enorm(embedding) | hnorm(h)
    Tensor dz;                     ///< of the decoder layer's input, for eh_proj
    DecoderLayer::SavedPtr layer;  ///< the caller's: made with DecoderLayer::make_saved
  };
  /// depth counts from 1; its layer id is num_hidden_layers + depth - 1.
  MtpModule(std::shared_ptr<const ModelConstants> constants, std::int64_t depth, ParameterSet& set);
  [[nodiscard]] DecoderLayer& layer() { return layer_; }

  /// h: the previous depth's output after its norm; embedding of token i + k -> input of the
  /// decoder layer.
  Tensor input_forward(const kernels::ComputeContext& context, const Tensor& h,
                       const Tensor& embedding, bool keep, Saved& saved);
  /// The decoder layer's output -> what the head and the next depth read.
  Tensor output_forward(const kernels::ComputeContext& context, const Tensor& y, bool keep,
                        Saved& saved);
  Tensor output_backward(const kernels::ComputeContext& context, const Tensor& dh, Saved& saved);
  struct InputGradients {
    Tensor h, embedding;
  };
  InputGradients input_backward(const kernels::ComputeContext& context, const Tensor& dz,
                                Saved& saved);
  /// Everything but the decoder layer's.
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

 private:
  Norm enorm_, hnorm_;
  Linear eh_proj_;
  DecoderLayer layer_;
  Norm output_;
};

/// a + b as a new tensor (gradients that meet).
[[nodiscard]] Tensor sum(const kernels::ComputeContext& context, const Tensor& a, const Tensor& b);

}  // namespace sluice::model
