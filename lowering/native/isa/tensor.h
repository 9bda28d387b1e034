// The runtime's tensor is the same, whichever library a kernel is compiled against.
#pragma once

#include "../include/tensor.h"
