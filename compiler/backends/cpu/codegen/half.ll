; Conversions between half and single precision for processors without instructions for them. LLVM calls them by these
; names (of its compiler-rt), which neither the C library nor this process need have. To the nearest, ties to even.

define weak hidden float @__extendhfsf2(half %x) nounwind "no-builtins" {
entry:
  %bits = bitcast half %x to i16
  %wide = zext i16 %bits to i32
  %magnitude = and i32 %wide, 32767
  %shifted = shl i32 %magnitude, 13
  %small = bitcast i32 %shifted to float
  %scaled = fmul float %small, 0x46F0000000000000 ; 2^112 moves the exponent's bias; exact for subnormal numbers, too
  %number = bitcast float %scaled to i32
  %special = icmp ugt i32 %magnitude, 31743
  %filled = or i32 %shifted, 2139095040
  %value = select i1 %special, i32 %filled, i32 %number
  %minus = and i32 %wide, 32768
  %sign = shl i32 %minus, 16
  %result = or i32 %value, %sign
  %single = bitcast i32 %result to float
  ret float %single
}

define weak hidden half @__truncsfhf2(float %x) nounwind "no-builtins" {
entry:
  %bits = bitcast float %x to i32
  %magnitude = and i32 %bits, 2147483647
  %isnan = icmp ugt i32 %magnitude, 2139095040
  %end = select i1 %isnan, i32 32256, i32 31744 ; what is too large becomes an infinity
  %large = icmp ugt i32 %magnitude, 1199570943
  %absolute = bitcast i32 %magnitude to float
  %placed = fadd float %absolute, 0.5 ; the last bits of the sum are those of a subnormal result, rounded
  %subnormal.bits = bitcast float %placed to i32
  %subnormal = sub i32 %subnormal.bits, 1056964608
  %small = icmp ult i32 %magnitude, 947912704
  %last = lshr i32 %magnitude, 13
  %odd = and i32 %last, 1
  %rebiased = add i32 %magnitude, 3355447295 ; the exponent's bias, and what carries where more than half is cut off
  %rounded = add i32 %rebiased, %odd
  %normal = lshr i32 %rounded, 13
  %finite = select i1 %small, i32 %subnormal, i32 %normal
  %value = select i1 %large, i32 %end, i32 %finite
  %minus = lshr i32 %bits, 16
  %sign = and i32 %minus, 32768
  %result = or i32 %value, %sign
  %narrow = trunc i32 %result to i16
  %half = bitcast i16 %narrow to half
  ret half %half
}
