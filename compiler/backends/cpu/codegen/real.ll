
; The node `RealMul` for processors without double precision: |x| times the 53 bits M of the factor M * 2^-k, exactly.
; That product P is rounded to 53 bits, as a multiplication of doubles is, by adding half of what its last bit is worth;
; halves of results are among the numbers that this rounding leaves alone, so one shift tells which of them were passed.
define internal i32 @netc.real_product(i32 %x, i64 %factor) noinline nounwind {
entry:
  %size = call i32 @llvm.abs.i32(i32 %x, i1 false)
  %none = icmp eq i32 %x, 0
  %shifted = lshr i64 %factor, 52
  %field = trunc i64 %shifted to i32
  %exponent = and i32 %field, 2047
  %k = sub i32 1075, %exponent
  %tiny = icmp sgt i32 %k, 88
  %nothing = or i1 %none, %tiny
  br i1 %nothing, label %zero, label %multiply
zero:
  ret i32 0
multiply:
  %fraction = and i64 %factor, 4503599627370495
  %m = or i64 %fraction, 4503599627370496
  %m.low = and i64 %m, 4294967295
  %m.high = lshr i64 %m, 32
  %a = zext i32 %size to i64
  %p.low = mul i64 %a, %m.low
  %p.high = mul i64 %a, %m.high
  %carry = lshr i64 %p.low, 32
  %top = add i64 %p.high, %carry
  %low = and i64 %p.low, 4294967295
  %zeros = call i64 @llvm.ctlz.i64(i64 %top, i1 true)
  %zeros.word = trunc i64 %zeros to i32
  %cut = sub i32 43, %zeros.word
  %last = shl i32 1, %cut
  %half = lshr i32 %last, 1
  %half.wide = zext i32 %half to i64
  %low.rounded = add i64 %low, %half.wide
  %more = lshr i64 %low.rounded, 32
  %top.rounded = add i64 %top, %more
  %large = icmp slt i32 %k, 33
  br i1 %large, label %whole, label %part
part:
  %place = sub i32 %k, 33
  %place.wide = zext i32 %place to i64
  %middle = shl i64 1, %place.wide
  %sum = add i64 %top.rounded, %middle
  %once = lshr i64 %sum, %place.wide
  %quotient = lshr i64 %once, 1
  br label %limit
whole:
  %positive = icmp sgt i32 %k, 0
  %k.safe = select i1 %positive, i32 %k, i32 1
  %k.wide = zext i32 %k.safe to i64
  %before = sub i64 %k.wide, 1
  %bound = shl i64 1, %before
  %below = icmp ult i64 %top.rounded, %bound
  %fits = and i1 %positive, %below
  %up = shl i64 %top.rounded, 32
  %rest = and i64 %low.rounded, 4294967295
  %all = or i64 %up, %rest
  %all.rounded = add i64 %all, %bound
  %number = lshr i64 %all.rounded, %k.wide
  %kept = select i1 %fits, i64 %number, i64 4294967295
  br label %limit
limit:
  %result = phi i64 [ %quotient, %part ], [ %kept, %whole ]
  %sign = lshr i64 %factor, 63
  %sign.word = trunc i64 %sign to i32
  %x.sign = lshr i32 %x, 31
  %minus = xor i32 %sign.word, %x.sign
  %most = add i32 2147483647, %minus
  %most.wide = zext i32 %most to i64
  %limited = call i64 @llvm.umin.i64(i64 %result, i64 %most.wide)
  %magnitude = trunc i64 %limited to i32
  %mask = sub i32 0, %minus
  %flipped = xor i32 %magnitude, %mask
  %signed = add i32 %flipped, %minus
  ret i32 %signed
}
