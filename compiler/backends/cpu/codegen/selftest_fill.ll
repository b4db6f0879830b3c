; Fill an input of {{kind}} elements with a sample.
define internal void @netc.sample.{{kind}}(ptr %state, ptr %data, {{size}} %count) noinline nounwind{{text}} {
entry:
  store i32 {{seed}}, ptr %state, align 4
  br label %test
test:
  %i = phi {{size}} [ 0, %entry ], [ %next, %more ]
  %again = icmp ult {{size}} %i, %count
  br i1 %again, label %more, label %done
more:
  %drawn = call i32 @netc.random(ptr %state)
{{element}}
  %place = getelementptr {{type}}, ptr %data, {{size}} %i
  store {{type}} %element, ptr %place
  %next = add {{size}} %i, 1
  br label %test
done:
  ret void
}

