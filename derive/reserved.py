"""Words that the emitted files use themselves: a quantity of such a name would shadow one of them, or be shadowed.

Static, so that no run needs torch to know them; a test compares them with torch.nn.Module and with codegen/runtime.
"""

from __future__ import annotations

# Public attributes of torch.nn.Module, module-level names of the emitted support code, arguments and methods of the
# emitted classes, and what the emitted rules call their own arguments and locals.
WORDS = frozenset(
    """
    ABC ARITIES ASK_EVERY AdaptiveNet AdaptiveSolve Along Anderson Answer Any AugmentedField BLOCK_ELEMENTS
    BLOCK_NUMBERS BLOCK_STEPS Backsolve BackwardStages BarStacks Bars Below Block BlockSizes Blocks Bracket
    BracketedRoot Broyden CALL_FAILURES CAUTION CONSEQUENCE CORRECTIONS Call Callable Calls Cell ChainCall
    ChainLayer Choice ClassVar ClosedForm Combination ContinuousNet Control ConvergenceError Correction Cotangents
    DEFAULT_TOL DEFAULT_TOLERANCES DERIVATION DIP_STEPS DOUBLE DelayNet DelayReverse DelayRules DelaySweeps
    DelayedSteps DenseBars DerivedLayer DerivedLayers DerivedMap DerivedReverse DerivedSteps Diffusion
    DiffusionError EARLY_ERROR EVENT_ORDERS Equation Equations Equilibrium EquilibriumBackward EquilibriumError
    EquilibriumInfo EquilibriumNet EquilibriumWarning Evaluated Evaluation EventSearch Exact ExactReverse
    ExactSweeps ExplicitReverse ExplicitSweeps FRACTION_BITS FeedbackRecurrent Field FieldAt FieldCalls FieldForm
    Fields FiniteTest FixedPointCall FixedPointOverflowError FixedPointRules FixedPointSteps FlowNet FlowTransform
    ForwardField Found Fraction FunctionalPullback GOLDEN GROWTH Gathered Gradients GraphPullback GraphReverse
    GraphSweeps HostAnswer HostRead INCREMENT_SLACK INNER_TOL INVERSE_STEPS Image Implicit InformationBuffer
    InnerField Interface InversionError InversionSchedule Iterable Iteration Iterator KEPT_STEPS KERNEL KINDS Kept
    LARGEST_DENSE LARGEST_Q LARGEST_RANK LARGEST_WEIGHTS LAST LEAST_EXPM1 LEAST_PRODUCT LEAST_ROUNDINGS LEAST_SIDE
    LEAST_STACK LEAST_STEPS LEAST_TANH LEAST_WORK LOOSEST LaterOrders Law LayerNet LayerRule Leaf Linear
    LinearRecurrent Linearize LinearizeStage Linearized MEASURED_SAMPLES MEASURE_EVERY MIXED MOST_BARS MOST_STACK
    ManySteps Map MapRule Mapping Module Multiplier NOT_INVERTED NUDGE NamedTuple Needs Networks NoEventError
    NotFiniteError ON_CIRCLE ORDERS OTHERS OneField OpaqueForm OpaqueStages Options PASSED_ON POINTS POSITIONAL
    PackedField PackedSequence PackedState Packing Pair PairStages ParameterSlot Parts Picard PlainField Plan
    Prelude PreludeCell Protocol Pulled ROOT_ITERATIONS ROOT_STEPS ROUNDING ROUNDINGS RandomNet Reach Readout Real
    Recording Recurrence RecurrenceAdjoint Recurrent RecurrentWithPrelude Reverse ReverseField ReverseSweep Row
    Rules SHARE_OF_STAGES SLOPES SLOW SMALLEST_STEP SOLVERS STACK_ELEMENTS STAGNATION STATE_LIMIT Sampling Search
    Sequence Shape Shapes Shared Snapshot Solution SolveCall SolveStats Solver Stacked Stacks StageStacks Stages
    State StepBars StepCountError StepError StepLoop StepNet StepSweeps StepTape StepUnderflowError Steps
    StochasticNet Sums Sweeps TANH_IS_ONE TIGHT TIMES TWO T_destination Tableau Tensor Through TimeFunction
    Transform TypeVar UndoneField Unmapped ValueStacks Values WORD Wanted Weights Where Window WrittenAdaptiveNet
    WrittenCall WrittenCalls WrittenField WrittenForm WrittenReverse WrittenStages ZeroTest _checked _laid_out
    _swept _watched_run abstractmethod adaptive_steps add_module add_product added adjoint adjoint_sweep affine_into
    affine_tanh_into all_finite along_steps annotations apply as_floating as_function as_given as_parameter
    as_time_function as_transform asked at_stages at_time at_times atol backward bar_unknowns bars base batch_first
    batch_outer bernoulli bfloat16 bidirectional block_lipschitz block_name block_rows block_sizes blocks both_of
    bracketed_root brownian_increments buffers by_columns calculus call_super_init call_untouched casts cell cells
    cells_named_so chain_of check_arguments check_axes check_block_rows check_blocks check_classes check_conditions
    check_dropout check_dtype check_field check_finite check_generator check_input check_interval check_lag
    check_not_negative check_number check_same check_shape check_size check_sizes check_start check_step_size
    check_steps check_switches check_tensor check_term check_values check_vector check_weights checked checked_base
    checked_cell checked_dim checked_field checked_fields checked_input checked_lag checked_lags checked_lengths
    checked_network checked_size checked_sizes checked_split checked_start checked_state checked_target children
    choose chosen chosen_pair closed_field closed_form cmath columns_of compile compiled_search completed constrain
    constraints contextlib cotangents_of_states coupled_axes cpu cuda dataclass denominator dense dense_solve device
    difflib diffusion diffusion_nets dim dip divided double draw drawn_parameter draws drift dropout dtype
    dump_patches each_of earlier embed entries_between equilibrium error_terms eval exact_number extra_repr
    failed_call field field_arity field_per_step filled finals finite_number first_step flatten_parameters float
    flow_parameter for_norms forward forward_ad forward_inner forward_mode_on forward_sweep from_columns functional
    functions_of_time further_sizes generator get_buffer get_extra_state get_parameter get_submodule gmres gradient
    h_lambda half has_readout held hidden_size holders hooks_everywhere host_answer if_drawn image implicit
    impulse_response in_front increments info input_size inspect interface interfaces inverse inverse_growth
    inverse_of inverse_tol ipu is_large iterate itertools keeps_tape kernel_serves known_later lag_front lag_outer
    lag_shift lag_sum lag_total lag_unshift large_product largest_root latest layer_times layers layers_backward
    layout leaf_of linear_tanh linearize lipschitz load_state_dict local located log_prob loss loss_cotangent
    lowered lru_cache math matrix_of max_iter max_steps may_be_functions measured_growth memory method methods modes
    modes_as_called modules moment monotone_root motions moving_forward mtia multipliers must_be_finite
    name_bad_step named_buffers named_children named_modules named_parameters names_of needs nets network_value
    networks networks_of newton nn no_field noise normal not_finite not_zero note_where num_layers numbers of_time
    on_failure on_host one_of operands operator options order_of output_features output_size owner packed_like
    padded pairwise parameter_per_step parameter_shapes parameters partial per per_step phantom pieces_of_packed
    pieces_of_padded place_event place_states plain_adjoint plain_equilibrium plain_name plain_pull_back plus_slopes
    positional product pull_back pulled_back push_forward pushed pushforward quadratic_root random_state
    random_state_of re recurrence reduce refuse_others refused_weight register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook relative_mismatch replace replayed replayed_pull_back
    required_arguments requires_grad_ reset_parameters reverse_inner roots_of row_of_step rows_of rows_of_stacks
    rtol rules rules_per_step run_back run_chain run_inverse run_layers run_map run_plain run_replay safe_norm
    sample scaled_norm scheme segment_length self set_exactly set_extra_state set_product set_random_state
    set_submodule shallow_copy share_memory shared sigmoid_slope signs sizes smallest solution_of solve solve_linear
    solver solving spectral_radius stacked start started state state_bank state_cotangents state_dict state_sizes
    stats step_blocks step_count step_laws step_parameters step_size steps steps_of_block sum_of_products sum_to t0
    t1 table_columns table_weights tanh_into tanh_slope time_grid to to_columns to_empty tol tol_name torch
    total_sweep trace train training trajectory transition transposed_rest type underflow_message uniform
    unit_vector unit_vectors unknowns unknowns_of unpacked unrolled_equilibrium until value_at varying warnings
    weighed while_loop windows with_gradient_of with_gradients with_quick_tanh without without_autocast
    without_slope without_states word_starts worst_root xpu zero_at_start zero_grad zeros_on_host
    """.split()
)
