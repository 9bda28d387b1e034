// FIFOs come with pto-inst.hpp; the library has them in a header of their own.
#pragma once

#include "native/fifo.hpp"
