// All layers, cells and losses.
#pragma once

#include <rewind/nn/dropout.hpp>
#include <rewind/nn/embedding.hpp>
#include <rewind/nn/gru.hpp>
#include <rewind/nn/layer_norm.hpp>
#include <rewind/nn/linear.hpp>
#include <rewind/nn/loss.hpp>
#include <rewind/nn/lstm.hpp>
#include <rewind/nn/recurrent.hpp>
#include <rewind/nn/rnn.hpp>
