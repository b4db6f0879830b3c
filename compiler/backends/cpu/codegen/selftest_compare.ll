; Whether every `stride`-th of the {{kind}} elements of an output is what is stored.
define internal i1 @netc.same.{{kind}}(ptr %data, ptr %stored, {{size}} %count, {{size}} %stride, float %tolerance) noinline nounwind{{text}} {
entry:
  br label %test
test:
  %i = phi {{size}} [ 0, %entry ], [ %next, %more ]
  %last = phi i1 [ true, %entry ], [ %all, %more ]
  %again = icmp ult {{size}} %i, %count
  br i1 %again, label %more, label %done
more:
  %number = mul {{size}} %i, %stride
  %place = getelementptr {{type}}, ptr %data, {{size}} %number
  %found = load {{type}}, ptr %place
  %meant.at = getelementptr {{type}}, ptr %stored, {{size}} %i
  %meant = load {{type}}, ptr %meant.at
{{equal}}
  %all = and i1 %last, %equal
  %next = add {{size}} %i, 1
  br label %test
done:
  ret i1 %last
}

