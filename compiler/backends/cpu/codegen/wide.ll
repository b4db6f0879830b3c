
; 64-bit products and shifts for processors that lack the instructions. LLVM calls them by these names (of Arm's
; run-time ABI), which nothing else need define.

define weak hidden i64 @__aeabi_lmul(i64 %a, i64 %b) nounwind "no-builtins" {
entry:
  %a.low = trunc i64 %a to i32
  %b.low = trunc i64 %b to i32
  %a.shifted = lshr i64 %a, 32
  %b.shifted = lshr i64 %b, 32
  %a.high = trunc i64 %a.shifted to i32
  %b.high = trunc i64 %b.shifted to i32
  %a0 = and i32 %a.low, 65535
  %a1 = lshr i32 %a.low, 16
  %b0 = and i32 %b.low, 65535
  %b1 = lshr i32 %b.low, 16
  %p00 = mul i32 %a0, %b0
  %p01 = mul i32 %a0, %b1
  %p10 = mul i32 %a1, %b0
  %p11 = mul i32 %a1, %b1
  %carry = lshr i32 %p00, 16
  %middle = add i32 %p01, %carry
  %middle.low = and i32 %middle, 65535
  %middle.high = lshr i32 %middle, 16
  %second = add i32 %p10, %middle.low
  %second.high = lshr i32 %second, 16
  %upper = add i32 %p11, %middle.high
  %high = add i32 %upper, %second.high
  %low = mul i32 %a.low, %b.low
  %cross = mul i32 %a.low, %b.high
  %other = mul i32 %a.high, %b.low
  %crosses = add i32 %cross, %other
  %top = add i32 %high, %crosses
  %top.wide = zext i32 %top to i64
  %top.placed = shl i64 %top.wide, 32
  %low.wide = zext i32 %low to i64
  %result = or i64 %top.placed, %low.wide
  ret i64 %result
}

define weak hidden i64 @__aeabi_llsl(i64 %a, i32 %places) nounwind "no-builtins" {
entry:
  %low = trunc i64 %a to i32
  %shifted = lshr i64 %a, 32
  %high = trunc i64 %shifted to i32
  %rest = and i32 %places, 31
  %back = xor i32 %rest, 31
  %moved = shl i32 %low, %rest
  %half = lshr i32 %low, 1
  %over = lshr i32 %half, %back
  %up = shl i32 %high, %rest
  %both = or i32 %up, %over
  %far.bit = and i32 %places, 32
  %far = icmp ne i32 %far.bit, 0
  %new.high = select i1 %far, i32 %moved, i32 %both
  %new.low = select i1 %far, i32 0, i32 %moved
  %wide = zext i32 %new.high to i64
  %placed = shl i64 %wide, 32
  %low.wide = zext i32 %new.low to i64
  %result = or i64 %placed, %low.wide
  ret i64 %result
}

define weak hidden i64 @__aeabi_lasr(i64 %a, i32 %places) nounwind "no-builtins" {
entry:
  %shifted = lshr i64 %a, 32
  %high = trunc i64 %shifted to i32
  %rest = and i32 %places, 31
  %sign = ashr i32 %high, 31
  %moved = ashr i32 %high, %rest
  %result = call i64 @netc.shifted(i64 %a, i32 %places, i32 %moved, i32 %sign)
  ret i64 %result
}

define weak hidden i64 @__aeabi_llsr(i64 %a, i32 %places) nounwind "no-builtins" {
entry:
  %shifted = lshr i64 %a, 32
  %high = trunc i64 %shifted to i32
  %rest = and i32 %places, 31
  %moved = lshr i32 %high, %rest
  %result = call i64 @netc.shifted(i64 %a, i32 %places, i32 %moved, i32 0)
  ret i64 %result
}

; A number shifted right, given its upper word shifted by the places' lower five bits, and what fills it up.
define internal i64 @netc.shifted(i64 %a, i32 %places, i32 %moved, i32 %fill) nounwind "no-builtins" {
entry:
  %low = trunc i64 %a to i32
  %shifted = lshr i64 %a, 32
  %high = trunc i64 %shifted to i32
  %rest = and i32 %places, 31
  %back = xor i32 %rest, 31
  %double = shl i32 %high, 1
  %over = shl i32 %double, %back
  %down = lshr i32 %low, %rest
  %both = or i32 %down, %over
  %far.bit = and i32 %places, 32
  %far = icmp ne i32 %far.bit, 0
  %new.low = select i1 %far, i32 %moved, i32 %both
  %new.high = select i1 %far, i32 %fill, i32 %moved
  %wide = zext i32 %new.high to i64
  %placed = shl i64 %wide, 32
  %low.wide = zext i32 %new.low to i64
  %result = or i64 %placed, %low.wide
  ret i64 %result
}
